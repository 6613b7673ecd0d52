import { type Manifest, normalizeMac, openManifest, WaypostError } from '@waypost/contracts';
import { checkTableNames } from '../load/check-table-names.js';
import type { AppliedState } from '../state/mirror-state.js';

const TWO_CENTRALS =
  'Two centrals answer at CENTRAL_URL, or one came back that another had replaced. Leave only the right one there. ' +
  'If that is the one refused here, start a new epoch in its database: DELETE FROM waypost.central_state; devices then adopt what it has.';

export interface Expectations {
  schemaVersion: number;
  /** What orders it; undefined where nothing was applied, or nothing that counts. */
  applied: AppliedState | undefined;
  /** Central's clock when it answered: an edge's own clock may be years off. Without it central alone judges expiry. */
  centralTime: Date | undefined;
}

/**
 * Opens what central answered, and refuses what this device must not apply.
 * @throws WaypostError MANIFEST_INVALID, MANIFEST_NOT_YOURS
 */
export function openOwnManifest(received: unknown, mac: string): Manifest {
  const manifest = openManifest(received);
  if (!sameMac(manifest.device.mac, mac)) {
    throw new WaypostError('MANIFEST_NOT_YOURS', {
      detail: `Manifest ${manifest.manifestId} is for ${manifest.device.mac}, this is ${mac}.`,
    });
  }
  checkTableNames(manifest.tables);
  return manifest;
}

/** @throws WaypostError SCHEMA_VERSION_MISMATCH, MANIFEST_EXPIRED, MANIFEST_OUT_OF_ORDER, MANIFEST_INVALID */
export function checkManifest(manifest: Manifest, { schemaVersion, applied, centralTime }: Expectations): void {
  if (manifest.schemaVersion !== schemaVersion) {
    throw new WaypostError('SCHEMA_VERSION_MISMATCH', {
      detail: `The manifest has schema version ${manifest.schemaVersion}, this device is configured for ${schemaVersion}.`,
    });
  }
  const expiresAt = Date.parse(manifest.expiresAt);
  if (expiresAt <= Date.parse(manifest.generatedAt)) {
    throw new WaypostError('MANIFEST_INVALID', { detail: `Manifest ${manifest.manifestId} expires before it was made.` });
  }
  if (centralTime && centralTime.getTime() >= expiresAt) {
    throw new WaypostError('MANIFEST_EXPIRED', { detail: `Manifest ${manifest.manifestId} expired at ${manifest.expiresAt}.` });
  }
  if (applied) checkOrder(manifest, applied);
}

/** A device never goes back: not within an epoch, and not to an epoch that it has left. */
function checkOrder({ manifestId, epoch, sequence, sha256 }: Manifest, applied: AppliedState): void {
  const outOfOrder = (why: string, hint = {}): WaypostError =>
    new WaypostError('MANIFEST_OUT_OF_ORDER', { detail: `Manifest ${manifestId}: ${why}.`, ...hint });
  if (epoch !== applied.epoch) {
    if (applied.retiredEpochs.includes(epoch)) {
      throw outOfOrder(`its epoch ${epoch} was replaced by ${applied.epoch} before`, { hint: TWO_CENTRALS });
    }
    return;
  }
  if (sequence < applied.sequence) throw outOfOrder(`its sequence is ${sequence}, the device holds ${applied.sequence}`);
  if (sequence === applied.sequence && manifestId !== applied.manifestId) {
    throw outOfOrder(`its sequence ${sequence} is that of manifest ${applied.manifestId}, which the device holds`);
  }
  if (manifestId === applied.manifestId && sha256 !== applied.manifestSha256) {
    throw new WaypostError('MANIFEST_INVALID', { detail: `Manifest ${manifestId} was applied with another hash before.` });
  }
}

function sameMac(received: string, own: string): boolean {
  try {
    return normalizeMac(received) === own;
  } catch {
    return false;
  }
}

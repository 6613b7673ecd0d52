import { type Manifest, WaypostError } from '@waypost/contracts';
import type { EntityManager } from 'typeorm';
import { ManifestRow } from '../database/entities.js';

/**
 * The manifest that a device names.
 * @throws WaypostError MANIFEST_UNKNOWN, MANIFEST_NOT_YOURS
 */
export async function getManifest(manager: EntityManager, manifestId: string, mac: string): Promise<Manifest> {
  const row = await manager.findOneBy(ManifestRow, { manifestId });
  if (!row) throw new WaypostError('MANIFEST_UNKNOWN', { detail: `There is no manifest ${manifestId}.` });
  if (row.mac !== mac) throw new WaypostError('MANIFEST_NOT_YOURS', { detail: `The manifest ${manifestId} was not issued to ${mac}.` });
  return row.document as Manifest;
}

/** @throws WaypostError MANIFEST_EXPIRED */
export function assertAlive(manifest: Manifest): void {
  if (Date.parse(manifest.expiresAt) > Date.now()) return;
  throw new WaypostError('MANIFEST_EXPIRED', { detail: `The manifest ${manifest.manifestId} expired at ${manifest.expiresAt}.` });
}

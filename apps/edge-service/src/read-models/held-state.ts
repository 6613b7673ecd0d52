import { type Manifest, manifestSchema, WaypostError } from '@waypost/contracts';
import type { Query } from '@waypost/runtime';
import { findManifestText } from '../state/manifest-text.js';

/** The state but for the manifest itself. */
const READ_STATE = "SELECT key, value FROM waypost.edge_sync_state WHERE key <> 'manifest'";

/** What a device says it holds. */
export interface Held {
  manifestId: string;
  manifestSha256: string;
  epoch: string;
  sequence: number;
  verifiedAt: Date;
  /** Missing where an older version of the service wrote the state. */
  manifest: Manifest | undefined;
}

/** Undefined where the device has never verified anything. */
export async function findHeld(query: Query): Promise<Held | undefined> {
  const state = new Map((await query<{ key: string; value: string }>(READ_STATE)).map(({ key, value }) => [key, value]));
  const manifestId = state.get('manifest_id');
  if (manifestId === undefined) return undefined;
  const manifest = await findManifestText(query);
  return {
    manifestId,
    manifestSha256: state.get('manifest_sha256') ?? '',
    epoch: state.get('epoch') ?? '',
    sequence: Number(state.get('sequence')),
    verifiedAt: new Date(state.get('verified_at') ?? NaN),
    manifest: manifest === undefined ? undefined : ownManifest(manifest, manifestId),
  };
}

/** The service checked its hash when it came; central's, where it is asked, is compared with it. */
function ownManifest(text: string, manifestId: string): Manifest {
  const parsed = manifestSchema.safeParse(jsonOf(text));
  if (parsed.success && parsed.data.manifestId === manifestId) return parsed.data;
  throw new WaypostError('MANIFEST_INVALID', {
    detail: 'waypost.edge_sync_state has been altered: its manifest is not the one that the device holds.',
    hint: 'Give central’s address (--central-url) to verify against central’s record, or let the device sync: it writes its state again.',
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

import { type Manifest, normalizeMac, openManifest, ulidSchema, WaypostError } from '@waypost/contracts';
import type { Query } from '@waypost/runtime';

const BY_ID = 'SELECT document FROM waypost.manifests WHERE manifest_id = $1';
/** A device's manifests, the latest first: the epoch in force before those that it replaced. $1: MAC, $2: how many to skip. */
const BY_DEVICE = `
  SELECT document FROM waypost.manifests
  WHERE mac = $1
  ORDER BY (epoch = (SELECT value FROM waypost.central_state WHERE key = 'epoch')) DESC NULLS LAST, epoch DESC, sequence DESC
  LIMIT 1 OFFSET $2`;
const BACK = /~(\d{1,6})?$/;

/**
 * Finds the manifest that an operator means: by its id, or by a device's MAC for its latest; `~2` behind either goes two manifests back.
 * @throws WaypostError MANIFEST_UNKNOWN, CONFIG_INVALID where it is neither; MANIFEST_INVALID when what central kept is damaged
 */
export async function findManifest(query: Query, text: string): Promise<Manifest> {
  const back = BACK.exec(text);
  const steps = back ? Number(back[1] ?? 1) : 0;
  const name = text.replace(BACK, '').trim();
  const id = name.toUpperCase();
  if (!ulidSchema.safeParse(id).success) return byDevice(query, macOf(name), steps, text);
  const [row] = await query<{ document: unknown }>(BY_ID, [id]);
  if (!row) throw unknown(`There is no manifest ${id}.`);
  const found = openManifest(row.document);
  return steps === 0 ? found : earlier(query, found, steps);
}

function macOf(name: string): string {
  try {
    return normalizeMac(name);
  } catch (cause) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: `${JSON.stringify(name.slice(0, 64))} is neither a manifest id nor a MAC address.`,
      hint: 'Give a manifest’s id (26 letters and digits), or a device’s MAC for its latest one; ~2 behind either goes two back.',
      cause,
    });
  }
}

/** Counts from a manifest itself, also where the device has later ones. $1: MAC, $2: epoch, $3: sequence, $4: how many to skip. */
const BEFORE = `
  SELECT document FROM waypost.manifests WHERE mac = $1 AND epoch = $2 AND sequence < $3 ORDER BY sequence DESC LIMIT 1 OFFSET $4`;

async function earlier(query: Query, { manifestId, device, epoch, sequence }: Manifest, steps: number): Promise<Manifest> {
  const [row] = await query<{ document: unknown }>(BEFORE, [device.mac, epoch, sequence, steps - 1]);
  if (!row) throw unknown(`There are not ${steps} manifests before ${manifestId} in its epoch.`);
  return openManifest(row.document);
}

async function byDevice(query: Query, mac: string, steps: number, text: string): Promise<Manifest> {
  const [row] = await query<{ document: unknown }>(BY_DEVICE, [mac, steps]);
  if (row) return openManifest(row.document);
  throw unknown(steps === 0 ? `The device ${mac} was never given a manifest.` : `${text}: the device ${mac} has not so many manifests.`);
}

function unknown(detail: string): WaypostError {
  return new WaypostError('MANIFEST_UNKNOWN', {
    detail,
    hint: 'waypost history <device> lists what a device was given; old manifests are pruned.',
  });
}

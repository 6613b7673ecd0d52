import type { CopyValue } from './copy-text.js';
import type { FleetSize } from './fleet-size.js';
import type { Places } from './places.js';
import { Random } from './random.js';
import { DAY_MS, timestamp, TODAY_MS } from './time.js';

/** Always there, at TechCorp Industries' San Francisco Office. */
export const JETSON_MAC = '48:b0:2d:e9:c3:b7';
/** Always there and never active: central refuses it. */
export const INACTIVE_MAC = '48:b0:2d:00:00:01';

const MODELS = ['Jetson Xavier NX', 'Jetson Orin Nano', 'Raspberry Pi 5', 'Raspberry Pi 4', 'Shop Server S2'];
const AREA_KINDS = ['Lobby', 'Meeting Room', 'Workshop', 'Warehouse', 'Server Room', 'Kitchen', 'Open Space', 'Loading Dock'];
const TAGS = ['badge-only', 'camera', 'accessible', 'quiet', 'hazardous', 'outdoor'];

export function* areaRows(size: FleetSize, places: Places): Generator<CopyValue[]> {
  const random = new Random(size.seed, 'areas');
  for (let id = 1; id <= size.areas; id += 1) {
    const tags = TAGS.filter(() => random.chance(0.25));
    yield [
      id,
      random.pick(places.locations).id,
      `${random.pick(AREA_KINDS)} ${id}`,
      random.below(12) - 1,
      random.chance(0.8) ? 1 + random.below(200) : null,
      `{${tags.join(',')}}`,
    ];
  }
}

export function* deviceRows(size: FleetSize, places: Places): Generator<CopyValue[]> {
  yield [1, JETSON_MAC, 1, 'sf-office-1', 'Jetson Xavier NX', 'NX-0000001', '10.1.0.11', true, '2025-03-14T09:26:53.589793Z'];
  yield [2, INACTIVE_MAC, 1, 'sf-office-retired', 'Jetson Nano', 'JN-0000001', null, false, '2021-06-01T12:00:00.000001Z'];
  const random = new Random(size.seed, 'devices');
  for (let id = 3; id <= size.devices; id += 1) {
    const location = random.pick(places.locations);
    yield [
      id,
      generatedMac(id),
      location.id,
      `site-${location.id}-${id}`,
      random.pick(MODELS),
      random.chance(0.9) ? `SN-${String(id).padStart(7, '0')}` : null,
      random.chance(0.9) ? `10.${location.id % 256}.${random.below(256)}.${1 + random.below(254)}` : null,
      random.chance(0.97),
      timestamp(TODAY_MS - random.below(1500 * DAY_MS), random.below(1000)),
    ];
  }
}

/** Locally administered, so never a real device's. Multiplying by an odd number maps 32 bits one to one: no two are equal. */
function generatedMac(id: number): string {
  const hex = (Math.imul(id, 0x9e3779b1) >>> 0).toString(16).padStart(8, '0');
  return ['02', '00', ...(hex.match(/../g) as string[])].join(':');
}

import type { Manifest } from '@waypost/contracts';
import type { KnownTables } from '../state/mirror-state.js';

/** The tables whose rows the device does not have: never hashed here, hashed otherwise, or not there any more. */
export function changedTables(manifest: Manifest, known: KnownTables, mirror: { tables: ReadonlyMap<string, unknown> }): Set<string> {
  const changed = manifest.tables.filter(({ name, sha256, rowCount, format }) => {
    const held = known.get(name);
    const same = held?.sha256 === sha256 && held.rowCount === rowCount && held.format === format;
    return !same || !mirror.tables.has(name);
  });
  return new Set(changed.map(({ name }) => name));
}

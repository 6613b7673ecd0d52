import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ManifestTable } from '@waypost/contracts';

const FILE = join(import.meta.dirname, 'golden.json');

type Golden = Record<'filled' | 'changed', Record<string, string>>;

/**
 * Compares a manifest with what every PostgreSQL gave so far. After a change of the corpus or of the canonical form, write golden.json again:
 * `WRITE_GOLDEN=1 npm test -- any-schema`.
 */
export function expectGolden(state: keyof Golden, tables: readonly ManifestTable[]): void {
  const actual = Object.fromEntries(tables.map(({ name, format, rowCount, sha256 }) => [name, `${format} ${rowCount} ${sha256}`]));
  const golden = JSON.parse(readFileSync(FILE, 'utf8')) as Golden;
  if (process.env['WRITE_GOLDEN']) writeFileSync(FILE, `${JSON.stringify({ ...golden, [state]: actual }, null, 2)}\n`);
  else expect(actual).toEqual(golden[state]);
}

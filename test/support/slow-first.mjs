import { existsSync } from 'node:fs';
import { join } from 'node:path';
import TestSequencer from '@jest/test-sequencer';

const ROOT = join(import.meta.dirname, '..', '..');

/** The slowest files first: one that begins last runs alone for minutes. On a fresh clone Jest knows only how large files are. */
const SLOWEST = [
  'test/fault-walk.pg.test.ts',
  'test/application-schemas.pg.test.ts',
  'test/enrollment.pg.test.ts',
  'test/fault-errors.pg.test.ts',
  'test/postgres-versions.pg.test.ts',
  'test/large-row-memory.pg.test.ts',
  'test/slow-readers.pg.test.ts',
  'test/oracle/oracle.pg.test.ts',
  'test/edge-disk-full.pg.test.ts',
].map((file) => join(ROOT, file));

const missing = SLOWEST.filter((file) => !existsSync(file));
if (missing.length > 0) throw new Error(`test/support/slow-first.mjs names files that are not there: ${missing.join(', ')}`);

/** Orders test files. */
export default class SlowFirst extends TestSequencer {
  sort(tests) {
    const rank = ({ path }) => (SLOWEST.indexOf(path) + 1 || SLOWEST.length + 1) - 1;
    return [...super.sort(tests)].sort((a, b) => rank(a) - rank(b));
  }
}

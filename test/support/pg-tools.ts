import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** The folder of PostgreSQL 15's client programs, which npm's PostgreSQL does not have. Debian's place by default. */
const FOLDER = process.env['TEST_PG_TOOLS'] || '/usr/lib/postgresql/15/bin';

/** Tests that need pg_dump and pg_restore (Debian: postgresql-client-15). Skipped with a word where they are missing, unless REQUIRE_PG_TOOLS=1. */
export function describeWithPgTools(title: string, run: () => void): void {
  const areHere = ['pg_dump', 'pg_restore'].every((name) => existsSync(join(FOLDER, name)));
  if (areHere || process.env['REQUIRE_PG_TOOLS'] === '1') return describe(title, run);
  describe.skip(`${title} (skipped: ${FOLDER} has no pg_dump; TEST_PG_TOOLS names another folder)`, run);
}

/** Runs one of them; throws when it fails. */
export async function runPgTool(name: 'pg_dump' | 'pg_restore', args: readonly string[]): Promise<void> {
  await promisify(execFile)(join(FOLDER, name), args);
}

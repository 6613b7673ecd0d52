import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { projectRoot } from '../scripts/project-root.js';

/** Runs `waypost <args>` against a database, as an operator does. @throws Error with its output when it does not exit with 0 */
export async function runWaypost(databaseUrl: string, ...args: string[]): Promise<void> {
  await promisify(execFile)(process.execPath, [join(projectRoot, 'bin/waypost.mjs'), ...args], {
    env: { ...process.env, DATABASE_URL: databaseUrl },
  });
}

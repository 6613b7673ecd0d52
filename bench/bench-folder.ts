import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { findHome } from '../scripts/postgres/home.js';
import { findDatabaseUser } from '../scripts/postgres/run-as.js';
import { projectRoot } from '../scripts/project-root.js';

export interface BenchFolder extends AsyncDisposable {
  path: string;
}

/** A folder for the servers and files of one run, gone when it goes out of scope. */
export async function benchFolder(): Promise<BenchFolder> {
  const home = await findHome(join(projectRoot, 'var'), await findDatabaseUser());
  const path = await mkdtemp(join(home.folder, 'bench-'));
  await chmod(path, 0o755); // PostgreSQL may run as another user
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Binaries } from './binaries.js';
import { EmbeddedPostgresError } from './embedded-postgres-error.js';
import { giveTo } from './home.js';
import { runAs, type RunAs } from './run-as.js';

/** What lies in a server's folder: `data`, `password` and `server.log`. */
export interface DataFolder {
  data: string;
  password: string;
}

/**
 * Makes the database cluster unless it is there. `initdb` works under another name and the result is renamed, so `data` exists only
 * if initdb finished: what an interrupted run left is removed and made again, finished data is never touched.
 * The superuser `postgres` has a random password, in a file that only the database's user (and root) can read.
 * @throws EmbeddedPostgresError when initdb fails, or when the data is of another major version
 */
export async function ensureDataFolder(folder: string, binaries: Binaries, user: RunAs): Promise<DataFolder> {
  const data = join(folder, 'data');
  const passwordFile = join(folder, 'password');
  const dataMajor = (await readIfThere(join(data, 'PG_VERSION')))?.trim();
  const major = binaries.version.split('.')[0] as string;
  if (dataMajor === undefined) {
    await rm(data, { recursive: true, force: true });
    await makeCluster(folder, data, passwordFile, binaries, user);
  } else if (dataMajor !== major) {
    throw new EmbeddedPostgresError(
      `${data} was made by PostgreSQL ${dataMajor}, the installed one is ${major}.`,
      `Remove ${folder} to start afresh, or move its rows over with pg_dump.`,
    );
  }
  await checkOwner(data, folder, user);
  return { data, password: await readFile(passwordFile, 'utf8') };
}

async function makeCluster(folder: string, data: string, passwordFile: string, { initdb }: Binaries, user: RunAs): Promise<void> {
  const unfinished = join(folder, 'data-unfinished');
  await rm(unfinished, { recursive: true, force: true });
  await mkdir(unfinished, { recursive: true, mode: 0o700 });
  await chmod(folder, 0o755);
  await giveTo(user, unfinished);
  await rm(passwordFile, { force: true });
  await writeFile(passwordFile, randomBytes(18).toString('base64url'), { mode: 0o600 });
  await giveTo(user, passwordFile);
  const args = ['--username=postgres', '--auth=scram-sha-256', '--encoding=UTF8', '--locale=C', '--no-sync', '--no-instructions'];
  try {
    await runAs(user, initdb, [`--pgdata=${unfinished}`, `--pwfile=${passwordFile}`, ...args]);
  } catch (cause) {
    const said = ((cause as { stderr?: string }).stderr ?? String(cause)).trim();
    throw new EmbeddedPostgresError(
      `initdb failed for ${folder}: ${said}`,
      'Often a full disk, missing permissions, or a user id without an entry in /etc/passwd.',
      { cause },
    );
  }
  await rename(unfinished, data);
}

/** PostgreSQL would say no more than "wrong ownership". */
async function checkOwner(data: string, folder: string, user: RunAs): Promise<void> {
  const { uid } = await stat(data);
  if (uid === (user.uid ?? process.getuid?.() ?? uid)) return;
  throw new EmbeddedPostgresError(
    `${data} belongs to user ${uid}, but PostgreSQL would run as ${user.name}.`,
    `Start as the user who made it, or remove ${folder} to start afresh.`,
  );
}

async function readIfThere(file: string): Promise<string | undefined> {
  return readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
}

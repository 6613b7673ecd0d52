import { createHash } from 'node:crypto';
import { chmod, chown, lstat, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { EmbeddedPostgresError } from './embedded-postgres-error.js';
import { runAs, type RunAs } from './run-as.js';

/** Where root may keep the state of services, by the Filesystem Hierarchy Standard. */
const SYSTEM_STATE = '/var/lib/waypost';

/** A folder that we can write and that the database's user can enter. */
export interface Home {
  folder: string;
  /** True when it is not the folder that was asked for. */
  relocated: boolean;
}

/**
 * Finds a place for databases: `preferred` if PostgreSQL's user can work there, else a folder that is always the same for the same
 * `preferred`, so that the next start finds its data again. Each place is tried by writing a file as that user, which also
 * sees what mode bits do not tell (ACLs, root-squashed or read-only file systems).
 * @throws EmbeddedPostgresError when no place will do
 */
export async function findHome(preferred: string, user: RunAs): Promise<Home> {
  const places = [preferred, ...fallbacks(preferred)];
  for (const folder of places) {
    if (await isWorkable(folder, user)) return { folder, relocated: folder !== preferred };
  }
  throw new EmbeddedPostgresError(
    `PostgreSQL (as ${user.name}) can work in none of these folders: ${places.join(', ')}.`,
    `Make ${preferred} writable, and all folders above it passable (chmod o+x), or move the clone.`,
  );
}

/** A folder in /tmp that others could have made first is not trusted: it must be ours, and no other user may write to it. */
async function isWorkable(folder: string, user: RunAs): Promise<boolean> {
  let probe: string | undefined;
  try {
    await makeFolder(folder);
    const { uid, mode } = await lstat(folder);
    if (folder.startsWith(tmpdir()) && (uid !== process.getuid?.() || (mode & 0o022) !== 0)) return false;
    probe = await mkdtemp(join(folder, '.probe-'));
    await giveTo(user, probe);
    await runAs(user, '/bin/sh', ['-c', 'cd "$1" && : > file', 'sh', probe]);
    return true;
  } catch {
    return false;
  } finally {
    if (probe) await rm(probe, { recursive: true, force: true });
  }
}

/** Creates the folder with its parents, passable for PostgreSQL's user under any umask; an existing one is left as it is. */
async function makeFolder(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true });
  for (let made = folder; first !== undefined && made.length >= first.length; made = join(made, '..')) await chmod(made, 0o755);
}

/** Makes the user the owner, where another user is. */
export async function giveTo(user: RunAs, path: string): Promise<void> {
  if (user.uid !== undefined && user.gid !== undefined) await chown(path, user.uid, user.gid);
}

function fallbacks(preferred: string): string[] {
  const clone = join(preferred, '..');
  const name = `${basename(clone)}-${createHash('sha256').update(preferred).digest('hex').slice(0, 8)}`;
  const temporary = join(tmpdir(), `waypost-${process.getuid?.() ?? 'user'}-${name}`);
  return process.getuid?.() === 0 ? [join(SYSTEM_STATE, name), temporary] : [temporary];
}

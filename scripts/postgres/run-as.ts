import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { EmbeddedPostgresError } from './embedded-postgres-error.js';

const run = promisify(execFile);

/** The user that PostgreSQL runs as. `uid` and `gid` are absent when that is the current user. */
export interface RunAs {
  name: string;
  uid?: number;
  gid?: number;
}

/**
 * PostgreSQL refuses to run as root. As root this finds `postgres`, else creates it, else takes `nobody`;
 * each candidate is tried by starting a process as it. Otherwise it is the current user.
 * @throws EmbeddedPostgresError when no user can be had
 */
export async function findDatabaseUser(): Promise<RunAs> {
  if (process.getuid?.() !== 0) return { name: 'the current user' };
  const user = (await usable('postgres')) ?? (await created('postgres')) ?? (await usable('nobody'));
  if (user) return user;
  throw new EmbeddedPostgresError(
    'PostgreSQL refuses to run as root, and there is no other user to run it as.',
    'Create one (useradd --system postgres), start as an ordinary user, or allow the container to change users (CAP_SETUID, CAP_SETGID).',
  );
}

/**
 * Runs a program as that user and gives its output.
 * The working folder is `/`, because the current one may be closed to the user.
 */
export async function runAs(user: RunAs, program: string, args: readonly string[]): Promise<{ stdout: string; stderr: string }> {
  return run(program, args, { ...identity(user), cwd: '/', env: serverEnvironment() });
}

/** The spawn options that make a process belong to the user. Node drops root's supplementary groups along with the uid. */
export function identity(user: RunAs): { uid?: number; gid?: number } {
  return user.uid === undefined || user.gid === undefined ? {} : { uid: user.uid, gid: user.gid };
}

/** Nothing of the caller's PG* variables, locale or library paths reaches the server. */
export function serverEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C' };
}

async function usable(name: string): Promise<RunAs | undefined> {
  try {
    const [uid, gid] = await Promise.all(['-u', '-g'].map(async (flag) => Number((await run('id', [flag, name])).stdout)));
    if (!uid || !gid) return undefined;
    const user = { name, uid, gid };
    await runAs(user, '/bin/sh', ['-c', ':']);
    return user;
  } catch {
    return undefined;
  }
}

async function created(name: string): Promise<RunAs | undefined> {
  try {
    await run('useradd', ['--system', '--user-group', '--no-create-home', '--shell', '/usr/sbin/nologin', name]);
  } catch {
    return undefined;
  }
  return usable(name);
}

import { readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { EmbeddedPostgresError } from './embedded-postgres-error.js';
import { commandLine, hasExited, isAlive, startTime } from './processes.js';

const FAST_SHUTDOWN_MS = 30_000;
const IMMEDIATE_SHUTDOWN_MS = 10_000;

/**
 * Marks the server's folder as ours, and makes sure that no server runs on it: one whose starter was killed is shut down, by its own pid
 * and only after its command line proved that it is a PostgreSQL on this very data folder. A postmaster.pid that names no such process is removed.
 * @throws EmbeddedPostgresError when the process that started the server is still there, or the server does not stop
 */
export async function takeOver(folder: string, data: string): Promise<void> {
  const ownerFile = join(folder, 'owner');
  const [ownerPid, ownerStart] = (await readFile(ownerFile, 'utf8').catch(() => '')).split(' ');
  const pidFile = join(data, 'postmaster.pid');
  const pid = Number((await readFile(pidFile, 'utf8').catch(() => '')).split('\n')[0]);
  if (pid > 0) {
    const running = (await isAlive(pid)) && (await isServerOn(data, pid));
    if (running && ownerStart !== undefined && (await startTime(Number(ownerPid))) === ownerStart) {
      throw new EmbeddedPostgresError(
        `The PostgreSQL on ${data} is in use by process ${ownerPid}.`,
        'Is npm start already running in this clone? Stop it first (Ctrl-C).',
      );
    }
    if (running) await shutDown(pid, data);
    // PostgreSQL would refuse to start if the pid now belongs to another process of the same user.
    await rm(pidFile, { force: true });
  }
  await writeFile(ownerFile, `${process.pid} ${await startTime(process.pid)}`);
}

/**
 * Fast shutdown (open transactions are rolled back), then an immediate one if that takes too long. Returns once the server is gone.
 * @throws EmbeddedPostgresError when it outlives both
 */
export async function shutDown(pid: number, data: string): Promise<void> {
  for (const [signal, withinMs] of [
    ['SIGINT', FAST_SHUTDOWN_MS],
    ['SIGQUIT', IMMEDIATE_SHUTDOWN_MS],
  ] as const) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ESRCH') return;
      throw error;
    }
    if (await hasExited(pid, withinMs)) return;
  }
  throw new EmbeddedPostgresError(`The PostgreSQL on ${data} (process ${pid}) does not stop.`, 'Look at its log; kill it by that pid.');
}

async function isServerOn(data: string, pid: number): Promise<boolean> {
  const [program = '', ...args] = await commandLine(pid);
  return basename(program) === 'postgres' && args.includes(data);
}

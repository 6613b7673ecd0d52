import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const POLL_MS = 50;

/** True while the process runs, also as another user's. One that has ended and waits for its parent to notice does not run. */
export async function isAlive(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  // In a container whose first process collects no orphans, such a zombie would stay for ever.
  return (await statFields(pid))?.[0] !== 'Z';
}

/** Waits until the process is gone. False when it still exists after that time. */
export async function hasExited(pid: number, withinMs: number): Promise<boolean> {
  const deadline = Date.now() + withinMs;
  while (await isAlive(pid)) {
    if (Date.now() > deadline) return false;
    await sleep(POLL_MS);
  }
  return true;
}

/** The program and its arguments, or an empty list when there is no such process. */
export async function commandLine(pid: number): Promise<string[]> {
  if (process.platform === 'linux') {
    const raw = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    return raw.split('\0').slice(0, -1);
  }
  return (await ps(pid, 'command=')).split(' ');
}

/** Tells a process from a later one with the same pid. Undefined when there is no such process. */
export async function startTime(pid: number): Promise<string | undefined> {
  if (process.platform === 'linux') return (await statFields(pid))?.[19];
  return (await ps(pid, 'lstart=')) || undefined;
}

/** Linux: /proc/<pid>/stat from the third field, the state, on. The second one, the name in parentheses, may hold anything. */
async function statFields(pid: number): Promise<string[] | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
}

async function ps(pid: number, column: string): Promise<string> {
  const { stdout } = await promisify(execFile)('ps', ['-o', column, '-p', String(pid)]).catch(() => ({ stdout: '' }));
  return stdout.trim();
}

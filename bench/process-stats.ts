import { readFile, writeFile } from 'node:fs/promises';

/** USER_HZ, which Linux reports to programs as 100 on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;

/** Fields of /proc/<pid>/stat behind the command's name, counted from its state. */
const Stat = { utime: 11, stime: 12, cutime: 13, cstime: 14 } as const;

export interface ResidentMemory {
  bytes: number;
  peakBytes: number;
}

/** Memory of a process now, and the most that it ever had; undefined where there is no /proc. */
export async function residentMemory(pid: number): Promise<ResidentMemory | undefined> {
  const status = await readIfThere(`/proc/${pid}/status`);
  const valueOf = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status ?? '')?.[1]) * 1024;
  return status === undefined ? undefined : { bytes: valueOf('VmRSS'), peakBytes: valueOf('VmHWM') };
}

/** From now on the peak is counted from what the process has now. Where the system does not allow it, it stays that of the process's whole life. */
export async function resetPeakMemory(pid: number): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, '5').catch(() => undefined);
}

/**
 * CPU time of a process and its children, those that ended included: a PostgreSQL server's pid stands for the whole server.
 * Undefined where there is no /proc.
 */
export async function cpuSeconds(pid: number): Promise<number | undefined> {
  const own = await ticksOf(pid, ['utime', 'stime', 'cutime', 'cstime']);
  if (own === undefined) return undefined;
  const children = (await readIfThere(`/proc/${pid}/task/${pid}/children`)) ?? '';
  let ticks = own;
  for (const child of children.split(' ').filter(Boolean)) ticks += (await ticksOf(Number(child), ['utime', 'stime'])) ?? 0;
  return ticks / TICKS_PER_SECOND;
}

async function ticksOf(pid: number, fields: (keyof typeof Stat)[]): Promise<number | undefined> {
  const stat = await readIfThere(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  const values = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.reduce((sum, field) => sum + Number(values[Stat[field]]), 0);
}

async function readIfThere(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(() => undefined);
}

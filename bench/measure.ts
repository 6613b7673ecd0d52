import { cpuSeconds } from './process-stats.js';

/** CPU time by process; a server's is that of all its processes. Without /proc it is missing. */
export type CpuSeconds = Record<string, number>;

/** One measurement. */
export interface Sample {
  /** Wall time. */
  ms: number;
  cpuSeconds: CpuSeconds;
}

/** Runs `work` once, with its wall time and what it cost each process, this one included. */
export async function measure<T>(processes: Record<string, number>, work: () => Promise<T>): Promise<Sample & { result: T }> {
  const before = await readCpu(processes);
  const startedAt = performance.now();
  const result = await work();
  const ms = performance.now() - startedAt;
  const after = await readCpu(processes);
  const used = Object.entries(after).map(([name, seconds]) => [name, seconds - (before[name] ?? 0)] as const);
  return { ms, cpuSeconds: Object.fromEntries(used), result };
}

async function readCpu(processes: Record<string, number>): Promise<CpuSeconds> {
  const { user, system } = process.cpuUsage();
  const seconds: CpuSeconds = { bench: (user + system) / 1e6 };
  for (const [name, pid] of Object.entries(processes)) {
    const value = await cpuSeconds(pid);
    if (value !== undefined) seconds[name] = value;
  }
  return seconds;
}

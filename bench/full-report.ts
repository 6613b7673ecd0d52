import type { Machine } from './machine.js';
import type { CpuSeconds, Sample } from './measure.js';
import type { Side } from './servers.js';
import type { Services, Steps, SyncOutcome } from './services.js';
import { mediansByName, medianOf, type Spread, spreadOf } from './statistics.js';

export interface FullSample extends Sample, SyncOutcome {
  steps: Steps;
}

/** All measurements with one number of rows. */
export interface SizeRun {
  rows: number;
  full: FullSample[];
  /** The same for an edge that knows nothing, where central has the snapshot already. */
  built: FullSample[];
  memory: { idle: Awaited<ReturnType<Services['memory']>>; after: Awaited<ReturnType<Services['memory']>> };
  peers: Record<string, Sample[]>;
}

/** What is to be reached. */
const MAX_RSS_BYTES = 200e6;
const MAX_RSS_GROWTH = 0.15;
const RATIO_LIMITS = [
  { way: 'full', peer: 'orderedBinaryCopy', limit: 1.8 },
  { way: 'full', peer: 'textCopy', limit: 0.95 },
  { way: 'full', peer: 'logicalReplication', limit: 0.95 },
  { way: 'built', peer: 'orderedBinaryCopy', limit: 1.6 },
] as const;

export interface Way {
  ms: Spread;
  /** Medians. */
  cpuSeconds: CpuSeconds;
}

export interface Target {
  name: string;
  value: number;
  /** Reached when the value is not above it. */
  limit: number;
  unit: 'ratio' | 'bytes' | 'share';
  met: boolean;
}

interface ServiceMemory {
  idleBytes: number;
  smallPeakBytes: number;
  largePeakBytes: number;
}

/** The result of `bench full`, as --json prints it. */
export interface FullReport {
  case: 'full';
  date: string;
  machine: Machine;
  versions: { node: string; postgres: string };
  settings: Record<Side, Record<string, string>>;
  table: { rows: number; columns: number; bytes: number };
  rounds: number;
  ways: Record<string, Way>;
  /** Medians; `build` is part of `request`, all others follow one another. */
  stepMs: Record<'full' | 'built', Steps>;
  downloadedBytes: number;
  /** Absent where there is no /proc. */
  memory: { smallRows: number; services: Partial<Record<Side, ServiceMemory>> };
  targets: Target[];
}

interface Measured extends Pick<FullReport, 'machine' | 'versions' | 'settings' | 'table' | 'rounds'> {
  date: Date;
  small: SizeRun;
  large: SizeRun;
}

/** Medians, ratios and targets of all measurements. */
export function summarize({ date, small, large, ...facts }: Measured): FullReport {
  const ways = Object.fromEntries(
    Object.entries<Sample[] | FullSample[]>({ full: large.full, built: large.built, ...large.peers }).map(([name, samples]) => [
      name,
      wayOf(samples),
    ]),
  );
  const services: Partial<Record<Side, ServiceMemory>> = {};
  for (const side of ['central', 'edge'] as const) {
    const [idle, smallPeak, largePeak] = [large.memory.idle[side], small.memory.after[side], large.memory.after[side]];
    if (!idle || !smallPeak || !largePeak) continue;
    services[side] = { idleBytes: idle.bytes, smallPeakBytes: smallPeak.peakBytes, largePeakBytes: largePeak.peakBytes };
  }
  return {
    case: 'full',
    date: date.toISOString(),
    ...facts,
    ways,
    stepMs: {
      full: mediansByName(large.full.map(({ steps }) => steps)),
      built: mediansByName(large.built.map(({ steps }) => steps)),
    },
    downloadedBytes: medianOf(large.full.map(({ downloadedBytes }) => downloadedBytes)),
    memory: { smallRows: small.rows, services },
    targets: [...ratioTargets(ways), ...memoryTargets(services)],
  };
}

function wayOf(samples: readonly Sample[]): Way {
  return { ms: spreadOf(samples.map(({ ms }) => ms)), cpuSeconds: mediansByName(samples.map(({ cpuSeconds }) => cpuSeconds)) };
}

function ratioTargets(ways: Record<string, Way>): Target[] {
  const msOf = (name: string): number => ways[name]?.ms.median ?? NaN;
  return RATIO_LIMITS.map(({ way, peer, limit }) =>
    target({ name: `${way} / ${peer}`, value: msOf(way) / msOf(peer), limit, unit: 'ratio' }),
  );
}

function memoryTargets(services: FullReport['memory']['services']): Target[] {
  return Object.entries(services).flatMap(([side, { smallPeakBytes, largePeakBytes }]) => [
    target({ name: `peak RSS of ${side}`, value: largePeakBytes, limit: MAX_RSS_BYTES, unit: 'bytes' }),
    target({ name: `peak RSS of ${side}, growth`, value: largePeakBytes / smallPeakBytes - 1, limit: MAX_RSS_GROWTH, unit: 'share' }),
  ]);
}

function target(facts: Omit<Target, 'met'>): Target {
  return { ...facts, met: facts.value <= facts.limit };
}

import type { FullReport, Target } from './full-report.js';
import type { Machine } from './machine.js';

const TITLES: Record<string, string> = {
  full: 'full sync, verified',
  built: 'the same, snapshot already built',
  orderedBinaryCopy: '(a) ordered binary COPY piped',
  textCopy: '(b) text COPY piped',
  logicalReplication: '(c) logical replication',
};
const CPU_COLUMNS = ['central', 'edge', 'bench', 'centralPostgres', 'edgePostgres'] as const;

/** `bench full` for a person. */
export function formatFull(report: FullReport): string {
  const { machine, versions, table, rounds, settings } = report;
  const rows = table.rows.toLocaleString('en-US');
  return [
    `bench full, ${report.date}`,
    '',
    ...columns([
      ['machine', `${machine.cpu}, ${machine.cores} cores, ${gigabytes(machine.memoryBytes)}, ${machine.system}`],
      ['versions', `Node ${versions.node}, PostgreSQL ${versions.postgres}`],
      ['central', settingsLine(settings.central)],
      ['edge', settingsLine(settings.edge)],
      [
        'table',
        `${rows} rows × ${table.columns} columns, ${megabytes(table.bytes)}, ${(table.bytes / table.rows).toFixed(0)} bytes per row`,
      ],
    ]),
    '',
    `Seconds, median of ${rounds} (min–max), and CPU seconds of each process`,
    ...columns(waysTable(report)),
    '',
    `Steps of the full sync, median seconds (build is part of request; on the wire ${megabytes(report.downloadedBytes)})`,
    ...columns([Object.keys(report.stepMs.full), Object.values(report.stepMs.full).map(seconds)]),
    '',
    'The same, snapshot already built',
    ...columns([Object.keys(report.stepMs.built), Object.values(report.stepMs.built).map(seconds)]),
    '',
    `Memory (RSS) of the services: idle, peak at ${report.memory.smallRows.toLocaleString('en-US')} rows, peak at ${rows} rows`,
    ...columns(
      Object.entries(report.memory.services).map(([side, memory]) => [
        side,
        ...[memory.idleBytes, memory.smallPeakBytes, memory.largePeakBytes].map(megabytes),
      ]),
    ),
    '',
    'Targets',
    ...columns(report.targets.map(targetRow)),
    '',
  ].join('\n');
}

function waysTable({ ways }: FullReport): string[][] {
  const header = ['', 'wall', '', ...CPU_COLUMNS];
  const lines = Object.entries(ways).map(([name, { ms, cpuSeconds }]) => [
    TITLES[name] ?? name,
    seconds(ms.median),
    `(${seconds(ms.min)}–${seconds(ms.max)})`,
    ...CPU_COLUMNS.map((column) => cpuSeconds[column]?.toFixed(2) ?? '–'),
  ]);
  return [header, ...lines];
}

function targetRow({ name, value, limit, unit, met }: Target): string[] {
  const format = { ratio: (v: number) => `${v.toFixed(2)} ×`, bytes: megabytes, share: (v: number) => `${(v * 100).toFixed(0)} %` }[unit];
  return [met ? '✓' : '✗', name, format(value), `≤ ${format(limit)}`];
}

export function settingsLine(settings: Record<string, string>): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
}

export function columns(rows: readonly string[][]): string[] {
  const count = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: count }, (_, at) => Math.max(...rows.map((row) => row[at]?.length ?? 0)));
  return rows.map((row) => `  ${row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join('  ')}`.trimEnd());
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(2);
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

export function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(0)} GB`;
}

/** With the unit that fits. */
export function bytes(count: number): string {
  if (count < 1e3) return `${count.toFixed(0)} B`;
  return count < 1e6 ? `${(count / 1e3).toFixed(1)} KB` : megabytes(count);
}

/** In seconds where there are many. */
export function milliseconds(ms: number): string {
  return ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${seconds(ms)} s`;
}

export function ratio(value: number): string {
  return `${value.toFixed(2)} ×`;
}

/** A line of the targets: reached when the value is not above the limit. What has no value is not reached, and says why instead. */
export function targetLine(name: string, value: number | string, limit: number, format: (value: number) => string): string[] {
  const shown = typeof value === 'string' ? value : Number.isNaN(value) ? '–' : format(value);
  return [typeof value === 'number' && value <= limit ? '✓' : '✗', name, shown, `≤ ${format(limit)}`];
}

export function machineLines(machine: Machine, versions: { node: string; postgres: string }): string[][] {
  return [
    ['machine', `${machine.cpu}, ${machine.cores} cores, ${gigabytes(machine.memoryBytes)}, ${machine.system}`],
    ['versions', `Node ${versions.node}, PostgreSQL ${versions.postgres}`],
  ];
}

export function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`;
}

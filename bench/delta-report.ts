import { costRows } from './costs-report.js';
import { type DeltaCost, type DeltaReport, type DeltaRun, SMALL_CHANGES } from './delta.js';
import { bytes, columns, machineLines, megabytes, milliseconds, percent, ratio, settingsLine, targetLine } from './report.js';

/** What is to be reached. */
const ONE = { ms: 40, bytes: 3000 };
const HUNDRED = { ms: 150, bytes: 10_000, growth: 1.3, centralCpuMs: 60 };
const TENTH = { bytes: 2.5e6, ofReplication: 1 };
const COLUMN = { ms: 6000, bytes: 100_000 };
const ENTERED = { ofCopy: 1.2, bytes: 20_000 };
const FLEET = { reads: 1, afterLastReadMs: 2000, peakBytes: 250e6 };
const MAX_FETCHED_AGAIN = 0.12;
const MAX_ABSENCE_MS = 10_000;

/** `bench delta` for a person. */
export function formatDelta(report: DeltaReport): string {
  const { settings } = report;
  return [
    `bench delta, ${report.date}`,
    '',
    ...columns([
      ...machineLines(report.machine, report.versions),
      ['central', settingsLine(settings.central)],
      ['edge', settingsLine(settings.edge)],
    ]),
    '',
    ...report.runs.flatMap((run) => formatRun(run, report)),
  ].join('\n');
}

function formatRun(run: DeltaRun, { columns: count, rounds, devices }: DeltaReport): string[] {
  const { fleet } = run;
  return [
    `A scope of ${run.rows.toLocaleString('en-US')} rows × ${count} columns, key ${run.keys}: medians of ${rounds}, of 1 and of 100 rows ${rounds * SMALL_CHANGES} (min–max)`,
    ...columns(costRows(run.costs, titlesFor(run))),
    ...(run.parkedCode === undefined ? [] : [`  a column added: parked (${run.parkedCode})`]),
    `  ${devices} devices that ask at once after 100 scattered rows changed: ${fleet.reads} table reads, all answered in ${milliseconds(fleet.totalMs)}, peak RSS of central ${megabytes(fleet.peakBytes)}`,
    '',
    'Targets',
    ...columns(deltaTargets(run, devices)),
    '',
  ];
}

function titlesFor({ smallRows }: DeltaRun): Record<DeltaCost, string> {
  return {
    one: '1 row changed',
    hundred: '100 scattered rows changed',
    hundredSmall: `100 scattered rows changed, of ${smallRows.toLocaleString('en-US')}`,
    hundredReplicated: '100 scattered rows, logical replication',
    tenth: '10 % updated',
    tenthReplicated: '10 % updated, logical replication',
    cut: '10 % updated, connection cut at 90 %',
    entered: '100 rows enter by a joined table, 100 leave',
    scopeCopied: 'ordered binary COPY out of the scope',
    absence: '10 % updated in 90 batches, then one sync',
    column: 'a column with a default added',
  };
}

/** Its lines of `Targets`; what was not measured is not reached. */
export function deltaTargets({ costs, parkedCode, fetchedAgain, fleet }: DeltaRun, devices: number): string[][] {
  const msOf = (name: DeltaCost): number => costs[name]?.ms.median ?? NaN;
  const bytesOf = (name: DeltaCost): number => costs[name]?.bytes ?? NaN;
  const column = (value: number): number | string => (parkedCode === undefined ? value : `parked (${parkedCode})`);
  return [
    targetLine('1 row', msOf('one'), ONE.ms, milliseconds),
    targetLine('1 row, wire', bytesOf('one'), ONE.bytes, bytes),
    targetLine('100 rows', msOf('hundred'), HUNDRED.ms, milliseconds),
    targetLine('100 rows, wire', bytesOf('hundred'), HUNDRED.bytes, bytes),
    targetLine('100 rows / the same in a tenth of the rows', msOf('hundred') / msOf('hundredSmall'), HUNDRED.growth, ratio),
    targetLine('100 rows, CPU of central', costs.hundred?.centralCpuMs ?? NaN, HUNDRED.centralCpuMs, milliseconds),
    targetLine('10 % updated, wire', bytesOf('tenth'), TENTH.bytes, bytes),
    targetLine('10 % updated / logical replication', msOf('tenth') / msOf('tenthReplicated'), TENTH.ofReplication, ratio),
    targetLine('a column added', column(msOf('column')), COLUMN.ms, milliseconds),
    targetLine('a column added, wire', column(bytesOf('column')), COLUMN.bytes, bytes),
    targetLine('100 enter, 100 leave / COPY out of the scope', msOf('entered') / msOf('scopeCopied'), ENTERED.ofCopy, ratio),
    targetLine('100 enter, 100 leave, wire', bytesOf('entered'), ENTERED.bytes, bytes),
    targetLine(`${devices} devices at once, table reads`, fleet.reads, FLEET.reads, String),
    targetLine(`${devices} devices at once, answered after the read`, fleet.afterLastReadMs, FLEET.afterLastReadMs, milliseconds),
    targetLine(`${devices} devices at once, peak RSS of central`, fleet.peakBytes, FLEET.peakBytes, megabytes),
    targetLine('fetched again after a cut', fetchedAgain, MAX_FETCHED_AGAIN, percent),
    targetLine('10 % updated in 90 batches', msOf('absence'), MAX_ABSENCE_MS, milliseconds),
  ];
}

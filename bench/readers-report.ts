import type { ReadersReport, Sizes } from './readers.js';
import { bytes, columns, machineLines, milliseconds, ratio, settingsLine, targetLine } from './report.js';

const MAX_STALL_MS = 50;
/** For 1,000 syncs of 100 changed rows each: `--syncs 1000 --changed 100`. */
const MAX_GROWTH = 1.5;
const TITLES: Record<keyof Sizes, string> = {
  table: 'table on the device',
  indexes: 'its indexes',
  deviceWaypost: 'schema waypost on the device',
  store: 'chunk store',
  centralWaypost: 'schema waypost at central',
};
/** Those that are to stay as large as they are. */
const BOUNDED = ['table', 'indexes', 'store', 'centralWaypost'] as const;

/** `bench readers` for a person. */
export function formatReaders(report: ReadersReport): string {
  const { settings, alone, beside, sync, before, after, mixtures } = report;
  const count = (value: number): string => value.toLocaleString('en-US');
  const growthOf = (name: keyof Sizes): number => after[name] / before[name];
  return [
    `bench readers, ${report.date}`,
    '',
    ...columns([
      ...machineLines(report.machine, report.versions),
      ['servers', settingsLine(settings)],
      ['load', `${count(report.rows)} rows; ${count(report.syncs)} syncs, ${count(report.changed)} rows changed before each`],
    ]),
    '',
    `A sync: median ${milliseconds(sync.ms.median)} (${milliseconds(sync.ms.min)}–${milliseconds(sync.ms.max)})`,
    '',
    `Reading the mirror, without syncs and beside them; ${count(report.sums)} times sums that must agree`,
    ...columns([
      ['', 'p50', 'p99', 'max'],
      ...Object.entries({
        'a row, alone': alone.row,
        'a row, beside': beside.row,
        'sums of all rows, alone': alone.sums,
        'sums of all rows, beside': beside.sums,
      }).map(([name, { p50, p99, max }]) => [name, ...[p50, p99, max].map(milliseconds)]),
    ]),
    '',
    'Sizes before and after the syncs',
    ...columns(
      Object.entries(TITLES).map(([name, title]) => {
        const key = name as keyof Sizes;
        return [title, bytes(before[key]), bytes(after[key]), ratio(growthOf(key))];
      }),
    ),
    '',
    'Targets',
    ...columns([
      targetLine('mixtures of two manifests', mixtures, 0, String),
      targetLine('longest time for a row', beside.row.max, MAX_STALL_MS, milliseconds),
      ...BOUNDED.map((name) => targetLine(`${TITLES[name]}, growth`, growthOf(name), MAX_GROWTH, ratio)),
    ]),
    '',
  ].join('\n');
}

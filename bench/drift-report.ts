import { costRows } from './costs-report.js';
import type { DriftCost, DriftReport } from './drift.js';
import { bytes, columns, machineLines, ratio, settingsLine, targetLine } from './report.js';

/** Two chunks, each of 256 rows. */
const MAX_BYTES = 120_000;
const MAX_OF_COPY = 1.3;
const TITLES: Record<DriftCost, string> = {
  verified: 'all rows verified',
  copied: 'ordered binary COPY out of the device’s table',
  mended: 'one altered row found and put right',
};

/** `bench drift` for a person. */
export function formatDrift({ date, machine, versions, settings, rows, rounds, costs }: DriftReport): string {
  return [
    `bench drift, ${date}`,
    '',
    ...columns([...machineLines(machine, versions), ['central', settingsLine(settings.central)], ['edge', settingsLine(settings.edge)]]),
    '',
    `A device with ${rows.toLocaleString('en-US')} rows: medians of ${rounds} (min–max)`,
    ...columns(costRows(costs, TITLES)),
    '',
    'Targets',
    ...columns([
      targetLine('one altered row, wire', costs.mended.bytes ?? NaN, MAX_BYTES, bytes),
      targetLine('verified / COPY out of the device’s table', costs.verified.ms.median / costs.copied.ms.median, MAX_OF_COPY, ratio),
    ]),
    '',
  ].join('\n');
}

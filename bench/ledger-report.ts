import type { LedgerReport } from './ledger.js';
import { columns, gigabytes } from './report.js';
import type { Spread } from './statistics.js';

/** What is to be reached. */
const MIN_APPENDS_PER_SECOND = 5000;
const MAX_SHARE_OF_POLL = 0.2;
const MAX_PROOF_MS = 20;
const MAX_VERIFY_MS = 1000;

/** `bench ledger` for a person. */
export function formatLedger({ date, machine, versions, append, polls, entries, ...times }: LedgerReport): string {
  const target = (met: boolean, name: string, value: string, limit: string): string[] => [met ? '✓' : '✗', name, value, limit];
  const line = (name: string, { median, min, max }: Spread): string[] => [
    name,
    `${median.toFixed(1)} ms`,
    `(${min.toFixed(1)}–${max.toFixed(1)})`,
  ];
  const share = polls.perSecond / append.perSecond;
  return [
    `bench ledger, ${date}`,
    '',
    ...columns([
      ['machine', `${machine.cpu}, ${machine.cores} cores, ${gigabytes(machine.memoryBytes)}, ${machine.system}`],
      ['versions', `Node ${versions.node}, PostgreSQL ${versions.postgres}`],
    ]),
    '',
    `${entries.toLocaleString('en-US')} leaves: median (min–max)`,
    ...columns([
      line('inclusion proof, over HTTP', times.inclusionMs),
      line('consistency proof, over HTTP', times.consistencyMs),
      line('waypost ledger verify --device', times.verifyDeviceMs),
      line('waypost ledger export', times.exportMs),
      line('waypost ledger check', times.checkMs),
    ]),
    '',
    'Targets',
    ...columns([
      target(
        append.perSecond >= MIN_APPENDS_PER_SECOND,
        `appended per second, of ${append.receipts.toLocaleString('en-US')} receipts`,
        append.perSecond.toFixed(0),
        `≥ ${MIN_APPENDS_PER_SECOND}`,
      ),
      target(share <= MAX_SHARE_OF_POLL, 'an append beside an unchanged poll', `${share.toFixed(2)} ×`, `≤ ${MAX_SHARE_OF_POLL} ×`),
      target(
        times.inclusionMs.median <= MAX_PROOF_MS,
        'inclusion proof',
        `${times.inclusionMs.median.toFixed(1)} ms`,
        `≤ ${MAX_PROOF_MS} ms`,
      ),
      target(
        times.verifyDeviceMs.median <= MAX_VERIFY_MS,
        'verification of one device',
        `${times.verifyDeviceMs.median.toFixed(0)} ms`,
        `≤ ${MAX_VERIFY_MS} ms`,
      ),
    ]),
    '',
  ].join('\n');
}

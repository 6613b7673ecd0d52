import type { IdleReport } from './idle.js';
import { columns, gigabytes } from './report.js';

/** What is to be reached. */
const MAX_SYNC_MS = 15;
const MAX_SYNC_BYTES = 2000;
const MIN_POLLS_PER_SECOND = 4000;
const MIN_SHARE_OF_BARE = 0.5;
const MAX_P99_MS = 50;

/** `bench idle` for a person. */
export function formatIdle({ date, machine, versions, syncs, devices, polls, bare, half, cpuSeconds }: IdleReport): string {
  const share = polls.rate / bare.rate;
  const target = (met: boolean, name: string, value: string, limit: string): string[] => [met ? '✓' : '✗', name, value, limit];
  return [
    `bench idle, ${date}`,
    '',
    ...columns([
      ['machine', `${machine.cpu}, ${machine.cores} cores, ${gigabytes(machine.memoryBytes)}, ${machine.system}`],
      ['versions', `Node ${versions.node}, PostgreSQL ${versions.postgres}`],
    ]),
    '',
    'sync/now when nothing has changed: median (min–max)',
    ...columns(
      syncs.map(({ rows, tables, ms, bytes }) => [
        sizeOf({ rows, tables }),
        `${ms.median.toFixed(1)} ms`,
        `(${ms.min.toFixed(1)}–${ms.max.toFixed(1)})`,
        `${bytes.median} bytes both ways`,
        `(${bytes.min}–${bytes.max})`,
      ]),
    ),
    '',
    `Polls of ${devices} devices that are up to date, each audited, at one central process`,
    ...columns([
      ['', 'per second', 'p50', 'p99'],
      ...Object.entries({ 'as fast as they are answered': polls, 'a bare route that inserts the row': bare, 'at half the rate': half }).map(
        ([name, load]) => [name, load.rate.toFixed(0), `${load.p50Ms.toFixed(1)} ms`, `${load.p99Ms.toFixed(1)} ms`],
      ),
    ]),
    `  CPU seconds of 5: ${Object.entries(cpuSeconds)
      .map(([name, value]) => `${name} ${value.toFixed(2)}`)
      .join(', ')}`,
    '',
    'Targets',
    ...columns([
      ...syncs.flatMap(({ rows, tables, ms, bytes }) => [
        target(ms.median <= MAX_SYNC_MS, `sync/now at ${sizeOf({ rows, tables })}`, `${ms.median.toFixed(1)} ms`, `≤ ${MAX_SYNC_MS} ms`),
        target(bytes.median <= MAX_SYNC_BYTES, 'its bytes both ways', String(bytes.median), `≤ ${MAX_SYNC_BYTES}`),
      ]),
      target(polls.rate >= MIN_POLLS_PER_SECOND, 'polls per second', polls.rate.toFixed(0), `≥ ${MIN_POLLS_PER_SECOND}`),
      target(share >= MIN_SHARE_OF_BARE, 'of the bare route', `${share.toFixed(2)} ×`, `≥ ${MIN_SHARE_OF_BARE} ×`),
      target(half.p99Ms <= MAX_P99_MS, 'p99 at half the rate', `${half.p99Ms.toFixed(1)} ms`, `≤ ${MAX_P99_MS} ms`),
    ]),
    '',
  ].join('\n');
}

function sizeOf({ rows, tables }: { rows: number; tables: number }): string {
  return `${rows.toLocaleString('en-US')} rows${tables > 1 ? `, ${tables} tables` : ''}`;
}

import type { FanoutReport } from './fanout.js';
import { columns, gigabytes, megabytes } from './report.js';

/** What is to be reached. */
const MAX_AFTER_LAST_BUILD_MS = 2000;
const MAX_RSS_BYTES = 300e6;
const MAX_STORE_GROWTH = 0.15;

/** `bench fanout` for a person. */
export function formatFanout(report: FanoutReport): string {
  const { machine, versions, rush, totalMs, store, snapshots } = report;
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
  const target = (met: boolean, name: string, value: string, limit: string): string[] => [met ? '✓' : '✗', name, value, limit];
  const growth = store.secondBytes / store.firstBytes;
  return [
    `bench fanout, ${report.date}`,
    '',
    ...columns([
      ['machine', `${machine.cpu}, ${machine.cores} cores, ${gigabytes(machine.memoryBytes)}, ${machine.system}`],
      ['versions', `Node ${versions.node}, PostgreSQL ${versions.postgres}`],
      [
        'fleet',
        `${report.devices} devices of ${report.scopes} scopes ask at once; ${report.rows.toLocaleString('en-US')} rows each, and as many that all share`,
      ],
    ]),
    '',
    `Medians of ${report.rounds}`,
    ...columns([
      ['table snapshots built', `${rush.built}, there are ${snapshots}`],
      ['all manifests answered', `${seconds(totalMs.median)} (${seconds(totalMs.min)}–${seconds(totalMs.max)})`],
      ['a manifest, p50 and p99', `${seconds(rush.p50Ms)}, ${seconds(rush.p99Ms)}`],
      [
        'CPU seconds',
        Object.entries(rush.cpuSeconds)
          .map(([name, value]) => `${name} ${value.toFixed(2)}`)
          .join(', '),
      ],
      [
        `store, a scope of ${store.rows.toLocaleString('en-US')} rows`,
        `${megabytes(store.firstBytes)}; for one that has nine tenths of its rows ${megabytes(store.secondBytes)}`,
      ],
    ]),
    '',
    'Targets',
    ...columns([
      target(rush.built <= snapshots, 'table snapshots built', String(rush.built), `≤ ${snapshots}`),
      target(
        rush.afterLastBuildMs <= MAX_AFTER_LAST_BUILD_MS,
        'last manifest after the last build',
        seconds(rush.afterLastBuildMs),
        `≤ ${seconds(MAX_AFTER_LAST_BUILD_MS)}`,
      ),
      ...(rush.peakBytes === undefined
        ? []
        : [target(rush.peakBytes <= MAX_RSS_BYTES, 'peak RSS of central', megabytes(rush.peakBytes), `≤ ${megabytes(MAX_RSS_BYTES)}`)]),
      target(
        growth <= MAX_STORE_GROWTH,
        'store for a scope that shares 90 % of its rows',
        `${(growth * 100).toFixed(0)} % of a copy`,
        `≤ ${MAX_STORE_GROWTH * 100} %`,
      ),
    ]),
    '',
  ].join('\n');
}

import { columns, gigabytes } from './report.js';
import type { TriggersReport } from './triggers.js';

/** Of throughput. */
const MAX_LOSS = 0.15;

/** `bench triggers` for a person. */
export function formatTriggers(report: TriggersReport): string {
  const { machine, versions, costs, manyUpdates, oneUpdateOfAll, cpuSeconds } = report;
  const percent = (share: number): string => `${(share * 100).toFixed(0)} %`;
  const seconds = (ms: number): string => (ms / 1000).toFixed(2);
  const losses = (['update', 'pgbench -N'] as const).map((name) => {
    const loss = 1 - costs.find((cost) => cost.name === name && cost.synchronousCommit === 'on')!.share.median;
    return [loss <= MAX_LOSS ? '✓' : '✗', `throughput lost by ${name}, synchronous_commit=on`, percent(loss), `≤ ${percent(MAX_LOSS)}`];
  });
  return [
    `bench triggers, ${report.date}`,
    '',
    ...columns([
      ['machine', `${machine.cpu}, ${machine.cores} cores, ${gigabytes(machine.memoryBytes)}, ${machine.system}`],
      ['versions', `Node ${versions.node}, PostgreSQL ${versions.postgres}`],
      ['load', `${report.connections} connections, statements of one row each by primary key, ${report.rows.toLocaleString('en-US')} rows`],
      [
        'CPU',
        `seconds for 100,000 updates without triggers: ${Object.entries(cpuSeconds)
          .map(([name, value]) => `${name} ${value.toFixed(1)}`)
          .join(', ')}`,
      ],
    ]),
    '',
    `Transactions per second without and with triggers, medians of ${report.rounds}, and the share that is left (min–max)`,
    ...columns([
      ['', 'synchronous_commit', 'without', 'with', 'left', ''],
      ...costs.map(({ name, synchronousCommit, without, with: after, share }) => [
        name,
        synchronousCommit,
        without.toFixed(0),
        after.toFixed(0),
        percent(share.median),
        `(${percent(share.min)}–${percent(share.max)})`,
      ]),
    ]),
    '',
    'Seconds without and with triggers (min–max)',
    ...columns(
      Object.entries({
        [`${manyUpdates.updates.toLocaleString('en-US')} updates of one row each in one transaction`]: manyUpdates,
        'one update of all rows': oneUpdateOfAll,
      }).map(([name, { without, with: after }]) => [
        name,
        ...[without, after].map((ms) => `${seconds(ms.median)} (${seconds(ms.min)}–${seconds(ms.max)})`),
        `${(after.median / without.median).toFixed(2)} ×`,
      ]),
    ),
    '',
    'Targets',
    ...columns(losses),
    '',
  ].join('\n');
}

import { columns, gigabytes, percent } from './report.js';
import type { TriggersReport } from './triggers.js';

/** Of throughput. */
const MAX_LOSS = 0.15;

/** `bench triggers` for a person. */
export function formatTriggers(report: TriggersReport): string {
  const { machine, versions, costs, manyUpdates, oneUpdateOfAll, driverCpu } = report;
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
      ['driver', `takes ${driverCpu.toFixed(0)} µs of CPU time for an update`],
    ]),
    '',
    `Without and with triggers: transactions per second, the share that is left (min–max), the server’s CPU µs for each; medians of ${report.rounds}`,
    ...columns([
      ['', 'synchronous_commit', 'without', 'with', 'left', '', 'CPU without', 'with'],
      ...costs.map(({ name, synchronousCommit, rate, share, serverCpu }) => [
        name,
        synchronousCommit,
        rate.without.toFixed(0),
        rate.with.toFixed(0),
        percent(share.median),
        `(${percent(share.min)}–${percent(share.max)})`,
        serverCpu.without.toFixed(0),
        serverCpu.with.toFixed(0),
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

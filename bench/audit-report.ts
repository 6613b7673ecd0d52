import type { AuditReport } from './audit.js';
import { columns, gigabytes } from './report.js';

const MAX_MS = 500;

/** `bench audit` for a person. */
export function formatAudit({ date, machine, versions, rows, bytes, rounds, panels, countingMs, pruning }: AuditReport): string {
  const slowest = Math.max(...panels.flatMap(({ usualMs, longMs }) => [usualMs, longMs]));
  return [
    `bench audit, ${date}`,
    '',
    ...columns([
      ['machine', `${machine.cpu}, ${machine.cores} cores, ${gigabytes(machine.memoryBytes)}, ${machine.system}`],
      ['versions', `Node ${versions.node}, PostgreSQL ${versions.postgres}`],
      [
        'rows',
        Object.entries(rows)
          .map(([name, count]) => `${name} ${count.toLocaleString('en-US')}`)
          .join(', '),
      ],
      ['size', `${(bytes / 1e9).toFixed(1)} GB with indexes`],
    ]),
    '',
    `Milliseconds of each panel’s statement, median of ${rounds}: over the dashboard’s usual time, and over 90 days`,
    ...columns([
      ['dashboard', 'panel', 'usual', 'ms', 'ms, 90 days', 'rows, 90 days'],
      ...panels.map((panel) => [
        panel.dashboard,
        panel.title,
        panel.usual,
        panel.usualMs.toFixed(1),
        panel.longMs.toFixed(1),
        String(panel.longRows),
      ]),
    ]),
    '',
    `Counting all of it by hours, with rests: ${(countingMs / 1000).toFixed(0)} s. Pruning the oldest day, with rests: ${pruning.rows.toLocaleString('en-US')} rows in ${(pruning.ms / 1000).toFixed(0)} s`,
    '',
    'Targets',
    ...columns([[slowest <= MAX_MS ? '✓' : '✗', 'slowest statement', `${slowest.toFixed(0)} ms`, `≤ ${MAX_MS} ms`]]),
    '',
  ].join('\n');
}

import type { FirstSync } from './first-sync.js';
import { formatReport } from './report.js';

const report = (sync: FirstSync, relocatedBecause?: string): string =>
  formatReport({
    central: { url: 'http://127.0.0.1:8080', databaseUrl: 'postgres://central' },
    edge: { url: 'http://127.0.0.1:8081', databaseUrl: 'postgres://edge' },
    postgresVersion: '18.4',
    home: '/clone/var',
    relocatedBecause,
    logFolder: '/clone/var/log',
    sync,
    syncInterval: '5m',
    totalMs: 4321,
  });

const users = {
  name: 'users',
  rowCount: 12_345,
  sha256: 'ab'.repeat(32),
  action: 'loaded',
  downloadedBytes: 678_901,
  verified: true,
} as const;
const areas = { name: 'areas', rowCount: 5, sha256: 'cd'.repeat(32), action: 'unchanged', downloadedBytes: 0, verified: true } as const;

test('shows addresses, databases, each table and the total', () => {
  const text = report({ status: 'Success', durationMs: 1500, tables: [users, areas] });
  expect(text).toContain('central-api    http://127.0.0.1:8080\n                 postgres://central');
  expect(text.match(/^ {2}(users|areas|total) .*$/gm)).toEqual([
    '  users   12,345             678,901   abababababab   loaded, verified ✓',
    '  areas        5                   0   cdcdcdcdcdcd   unchanged, verified ✓',
    '  total   12,350             678,901                  Success in 1.5 s',
  ]);
  expect(text).toContain('Up after 4.3 s.');
});

test('says why the data lies elsewhere', () => {
  const sync: FirstSync = { status: 'Unchanged', durationMs: 9, tables: [areas] };
  expect(report(sync, 'not in /root/x/var')).toContain('data           /clone/var\n                 not in /root/x/var');
});

test('never calls a table verified that is not', () => {
  const text = report({ status: 'Success', durationMs: 1, tables: [{ ...users, verified: false }] });
  expect(text).toContain('NOT verified');
  expect(text).not.toContain('✓');
});

test('a failed first sync is told with its code and hint', () => {
  const text = report({ status: 'Failed', code: 'CENTRAL_UNREACHABLE', detail: 'No answer.', hint: 'Look at central.' });
  expect(text).toContain('The first sync failed (CENTRAL_UNREACHABLE). No answer.\nHint: Look at central.');
});

import { JETSON_MAC } from '../fleet/equipment.js';
import type { FirstSync, SyncedTable } from './first-sync.js';

export interface ReportInput {
  central: { url: string; databaseUrl: string };
  edge: { url: string; databaseUrl: string };
  postgresVersion: string;
  home: string;
  /** Why the data does not lie in the clone. */
  relocatedBecause: string | undefined;
  logFolder: string;
  sync: FirstSync;
  syncInterval: string;
  totalMs: number;
}

type Align = 'left' | 'right';

/** What npm start shows once everything runs. */
export function formatReport(input: ReportInput): string {
  const { central, edge } = input;
  const where: string[][] = [
    ['central-api', central.url],
    ['', central.databaseUrl],
    ['edge-service', edge.url],
    ['', edge.databaseUrl],
    ['identity', 'AUTH=mac: each client that names a MAC gets its data; for this example only'],
    ['PostgreSQL', `${input.postgresVersion}, embedded`],
    ['data', input.home],
    ...(input.relocatedBecause === undefined ? [] : [['', input.relocatedBecause]]),
    ['logs', `${input.logFolder} (JSON lines)`],
    ['', `readable: npx pino-pretty --singleLine < ${input.logFolder}/central-api.log`],
  ];
  return [
    '',
    ...columns(where, ['left', 'left']),
    '',
    ...formatSync(input.sync),
    '',
    `Up after ${seconds(input.totalMs)}. The device ${JETSON_MAC} syncs every ${input.syncInterval}, until Ctrl-C. Try:`,
    '',
    `  curl -X POST ${edge.url}/api/sync/now`,
    `  curl ${edge.url}/api/sync/status`,
    `  curl -s ${central.url}/api/device-sync/request -H 'content-type: application/json' -d '{"mac":"${JETSON_MAC}","payload":"ndjson"}'`,
    `  npm run fleet -- --replace --users 1000000 --database-url ${central.databaseUrl}`,
    '',
  ].join('\n');
}

function formatSync(sync: FirstSync): string[] {
  if (sync.status === 'Failed') {
    return [`The first sync failed (${sync.code}). ${sync.detail}`, `Hint: ${sync.hint}`, 'The edge tries again by itself.'];
  }
  const rows = sync.tables.map((table) => [
    table.name,
    table.rowCount.toLocaleString('en-US'),
    table.downloadedBytes.toLocaleString('en-US'),
    table.sha256.slice(0, 12),
    `${table.action}${table.verified ? ', verified ✓' : ', NOT verified'}`,
  ]);
  const sum = (of: (table: SyncedTable) => number): string =>
    sync.tables.reduce((total, table) => total + of(table), 0).toLocaleString('en-US');
  const total = [
    'total',
    sum((table) => table.rowCount),
    sum((table) => table.downloadedBytes),
    '',
    `${sync.status} in ${seconds(sync.durationMs)}`,
  ];
  const header = ['table', 'rows', 'bytes transferred', 'sha256', ''];
  return columns([header, ...rows, total], ['left', 'right', 'right', 'left', 'left']);
}

function columns(rows: readonly string[][], alignment: readonly Align[]): string[] {
  const widths = alignment.map((_, at) => Math.max(...rows.map((row) => (row[at] ?? '').length)));
  return rows.map((row) =>
    `  ${row.map((cell, at) => (alignment[at] === 'right' ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0))).join('   ')}`.trimEnd(),
  );
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

import 'reflect-metadata';
import { join } from 'node:path';
import type pg from 'pg';
import { pino } from 'pino';
import { AuditSweeper } from '../apps/central-api/src/maintenance/audit-sweeper.js';
import type { MaintenanceOptions } from '../apps/central-api/src/maintenance/maintenance-options.js';
import { dataSourceOptions, openDataSource } from '../apps/central-api/src/database/database.module.js';
import { fillCentralAudit } from '../scripts/audit/fill-central-audit.js';
import { allPanels, DASHBOARDS, expandSql } from '../scripts/dashboards/dashboards.js';
import { CENTRAL_DATABASE } from '../scripts/dashboards/grafana.js';
import { startEmbeddedPostgres } from '../scripts/embedded-postgres.js';
import { benchFolder } from './bench-folder.js';
import type { FullOptions } from './full.js';
import { describeMachine, type Machine } from './machine.js';
import { withClient } from './servers.js';
import { medianOf } from './statistics.js';

const DAY_MS = 86_400_000;
const DAYS = 90;
/** Of each device: one poll in 13 minutes. */
const REQUESTS_PER_DEVICE = 10_000;
const DEVICE = '02:00:00:00:00:01';
/** In a server whose autovacuum is off; all else is PostgreSQL's default. */
const SETTINGS = { autovacuum: 'off', max_wal_size: '8GB', checkpoint_timeout: '1h' };

/** The result of `bench audit`, as --json prints it. */
export interface AuditReport {
  case: 'audit';
  date: string;
  machine: Machine;
  versions: { node: string; postgres: string };
  /** Of each table. */
  rows: Record<string, number>;
  bytes: number;
  rounds: number;
  /** Median milliseconds of each panel's statement, over the dashboard's usual time and over all 90 days. */
  panels: { dashboard: string; title: string; usual: string; usualMs: number; longMs: number; longRows: number }[];
  countingMs: number;
  pruning: { rows: number; ms: number };
}

/** Fills central's audit with 90 days of one device for every 10,000 requests, and times every statement of the dashboards, then the pruning of the oldest day. */
export async function runAudit({ rows, rounds, say, signal }: FullOptions): Promise<AuditReport> {
  await using run = await benchFolder();
  const folder = run.path;
  await using server = await startEmbeddedPostgres({ folder: join(folder, 'postgres'), settings: SETTINGS });
  const dataSource = await openDataSource(dataSourceOptions(server.url));
  try {
    return await withClient(server.url, async (client) => {
      signal.addEventListener('abort', () => void server.stop());
      const devices = Math.max(2, Math.round(rows / REQUESTS_PER_DEVICE));
      say(`filling the audit: ${rows.toLocaleString('en-US')} requests of ${devices} devices in ${DAYS} days`);
      await fillCentralAudit(client, { devices, days: DAYS, requests: rows, manifestsPerDeviceAndDay: 4 });
      await client.query('VACUUM ANALYZE');
      const sweep = async (retentionMs: number) => {
        const options = { auditRetentionMs: retentionMs, maxRequestMs: 0 } as MaintenanceOptions;
        const startedAt = performance.now();
        const done = await new AuditSweeper(dataSource, options, pino({ level: 'silent' })).sweep();
        return { done, ms: performance.now() - startedAt };
      };
      say('counting it by hours');
      const counting = await sweep(0);
      await client.query('VACUUM ANALYZE');
      const sizes = await tableSizes(client);
      const panels = await timePanels(client, rounds, say);
      say('pruning the oldest day');
      const { done, ms } = await sweep((DAYS - 1) * DAY_MS);
      return {
        case: 'audit',
        date: new Date().toISOString(),
        machine: describeMachine(),
        versions: { node: process.versions.node, postgres: server.version },
        ...sizes,
        rounds,
        panels,
        countingMs: counting.ms,
        pruning: { rows: done.requests + done.failedAcks + done.manifests, ms },
      };
    });
  } finally {
    await dataSource.destroy();
  }
}

async function timePanels(client: pg.Client, rounds: number, say: (line: string) => void): Promise<AuditReport['panels']> {
  const results: AuditReport['panels'] = [];
  for (const [name, dashboard] of Object.entries(DASHBOARDS)) {
    const usual = (dashboard['time'] as { from: string }).from.replace('now-', '');
    for (const { title, datasource, targets } of allPanels(dashboard)) {
      for (const target of targets) {
        if (!('rawSql' in target) || datasource.uid !== CENTRAL_DATABASE.uid) continue;
        const short = await time(client, target.rawSql, usual, rounds);
        const long = await time(client, target.rawSql, `${DAYS}d`, rounds);
        results.push({ dashboard: name, title, usual, usualMs: short.ms, longMs: long.ms, longRows: long.rows });
        say(`${name}, ${title}: ${short.ms.toFixed(0)} ms, ${long.ms.toFixed(0)} ms`);
      }
    }
  }
  return results;
}

async function time(client: pg.Client, rawSql: string, span: string, rounds: number): Promise<{ ms: number; rows: number }> {
  const spanMs = Number.parseInt(span, 10) * (span.endsWith('d') ? DAY_MS : 3_600_000);
  const to = new Date();
  const sql = expandSql(rawSql, { from: new Date(to.getTime() - spanMs).toISOString(), to: to.toISOString(), device: DEVICE });
  let rows = 0;
  const durations: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const startedAt = performance.now();
    ({ length: rows } = (await client.query(sql)).rows);
    durations.push(performance.now() - startedAt);
  }
  return { ms: medianOf(durations), rows };
}

async function tableSizes(client: pg.Client): Promise<{ rows: Record<string, number>; bytes: number }> {
  const { rows } = await client.query<{ name: string; rows: number; bytes: number }>(
    `SELECT relname AS name, reltuples::float8 AS rows, pg_total_relation_size(oid)::float8 AS bytes FROM pg_class
     WHERE relnamespace = 'waypost'::regnamespace AND relkind = 'r' AND reltuples > 100 ORDER BY reltuples DESC`,
  );
  return {
    rows: Object.fromEntries(rows.map(({ name, rows: count }) => [name, count])),
    bytes: rows.reduce((sum, table) => sum + table.bytes, 0),
  };
}

import { join } from 'node:path';
import type pg from 'pg';
import { benchFolder } from './bench-folder.js';
import { Costs, type CostSpread, measureSync } from './costs.js';
import { fillCentral, planWith, TABLE } from './dataset.js';
import { folderSize } from './folder-size.js';
import type { FullOptions } from './full.js';
import { describeMachine, type Machine } from './machine.js';
import { MirrorReaders, type ReaderLatencies } from './mirror-readers.js';
import { Servers, withClient } from './servers.js';
import { Services } from './services.js';

/** Of reading without syncs beside. */
const ALONE_MS = 5000;
/** The sum of the rows' quantities: each transaction at central changes both alike. */
const TOTALS = 'CREATE TABLE totals (id int PRIMARY KEY, quantity bigint NOT NULL)';
const FILL_TOTALS = `INSERT INTO totals SELECT 1, sum(quantity) FROM ${TABLE}`;
const CHANGE = `
  WITH changed AS (UPDATE ${TABLE} SET quantity = quantity + 1 WHERE id = ANY($1) RETURNING id)
  UPDATE totals SET quantity = quantity + (SELECT count(*) FROM changed)`;
/** Of both servers. */
const SHOWN = `
  SELECT name, current_setting(name) AS value FROM pg_settings
  WHERE name IN ('autovacuum', 'autovacuum_naptime', 'autovacuum_vacuum_scale_factor', 'autovacuum_vacuum_threshold', 'autovacuum_vacuum_cost_delay', 'fsync', 'shared_buffers')
  ORDER BY name`;

export interface ReadersOptions extends FullOptions {
  syncs: number;
  /** Rows that change before each sync. */
  changed: number;
}

/** Bytes before and after the syncs. */
export type Sizes = Record<'table' | 'indexes' | 'deviceWaypost' | 'store' | 'centralWaypost', number>;

/** The result of `bench readers`, as --json prints it. */
export interface ReadersReport {
  case: 'readers';
  date: string;
  machine: Machine;
  versions: { node: string; postgres: string };
  /** Of both servers. */
  settings: Record<string, string>;
  rows: number;
  syncs: number;
  changed: number;
  /** Sums that did not agree within one statement. */
  mixtures: number;
  sums: number;
  alone: ReaderLatencies;
  beside: ReaderLatencies;
  sync: CostSpread;
  before: Sizes;
  after: Sizes;
}

/**
 * What those that read the mirror notice of many syncs, and what grows meanwhile. The device's and central's servers vacuum as PostgreSQL
 * does by default.
 * @throws Error when a sync fails
 */
export async function runReaders({ rows, syncs, changed, say, signal }: ReadersOptions): Promise<ReadersReport> {
  await using run = await benchFolder();
  await using servers = await Servers.start(run.path, signal, { autovacuum: 'on' });
  const database = 'readers';
  await servers.createDatabases(database);
  say(`filling ${rows.toLocaleString('en-US')} rows`);
  await withClient(servers.urlOf('central', database), async (client) => {
    await fillCentral(client, rows);
    await client.query(TOTALS);
    await client.query(FILL_TOTALS);
  });
  const plan = `${planWith('triggers').replace('tables:\n', 'tables:\n  - name: totals\n')}`;
  await using services = await Services.start(servers, database, join(run.path, database), { plan });
  services.succeeded(await services.postSync());
  const before = await sizesOf(services);
  const result = await readBeside(services, { rows, syncs, changed, say });
  return {
    case: 'readers',
    date: new Date().toISOString(),
    machine: describeMachine(),
    versions: { node: process.versions.node, postgres: servers.version },
    settings: await withClient(services.databases.edge, readSettings),
    rows,
    syncs,
    changed,
    ...result,
    before,
    after: await sizesOf(services),
  };
}

async function readBeside(services: Services, { rows, syncs, changed, say }: Omit<ReadersOptions, 'rounds' | 'signal'>) {
  await using readers = await MirrorReaders.start(services.databases.edge, rows);
  await readers.readFor(ALONE_MS);
  const alone = readers.takeLatencies();
  const costs = new Costs();
  await withClient(services.databases.central, async (client) => {
    for (let at = 1; at <= syncs; at += 1) {
      await client.query(CHANGE, [idsAcross(rows, changed)]);
      const { answer, cost } = await measureSync(services);
      services.succeeded(answer);
      costs.add('sync', cost);
      if (at % Math.ceil(syncs / 10) === 0) say(`${at} of ${syncs} syncs, the last one ${cost.ms.toFixed(0)} ms`);
    }
  });
  const { mixtures, sums } = readers;
  return { mixtures, sums, alone, beside: readers.takeLatencies(), sync: costs.spreads()['sync']! };
}

/** One anywhere in each of so many equal parts. */
function idsAcross(rows: number, count: number): number[] {
  return Array.from({ length: Math.min(count, rows) }, (_, at) => 1 + Math.floor(((at + Math.random()) * rows) / Math.min(count, rows)));
}

async function sizesOf({ databases, snapshotFolder }: Services): Promise<Sizes> {
  const waypostOf = (client: pg.Client): Promise<number> =>
    sizeIn(client, "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relnamespace = 'waypost'::regnamespace AND relkind = 'r'");
  return withClient(databases.edge, async (edge) => ({
    table: await sizeIn(edge, `SELECT pg_table_size('${TABLE}')`),
    indexes: await sizeIn(edge, `SELECT pg_indexes_size('${TABLE}')`),
    deviceWaypost: await waypostOf(edge),
    store: await folderSize(snapshotFolder),
    centralWaypost: await withClient(databases.central, waypostOf),
  }));
}

async function sizeIn(client: pg.Client, query: string): Promise<number> {
  const { rows } = await client.query<{ bytes: string }>(`SELECT (${query}) AS bytes`);
  return Number(rows[0]?.bytes);
}

async function readSettings(client: pg.Client): Promise<Record<string, string>> {
  const { rows } = await client.query<{ name: string; value: string }>(SHOWN);
  return Object.fromEntries(rows.map(({ name, value }) => [name, value]));
}

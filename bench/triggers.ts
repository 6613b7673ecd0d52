import 'reflect-metadata';
import { join } from 'node:path';
import { createPool, removeTriggers, withTransaction } from '@waypost/runtime';
import { captureFor } from '../apps/central-api/src/capture/capture.js';
import { dataSourceOptions, openDataSource } from '../apps/central-api/src/database/database.module.js';
import { checkPlan, type CheckedPlan } from '../apps/central-api/src/plan/check-plan.js';
import { readPlan } from '../apps/central-api/src/plan/read-plan.js';
import { benchFolder } from './bench-folder.js';
import { fillCentral, TABLE, writePlan } from './dataset.js';
import type { FullOptions } from './full.js';
import { percent } from './report.js';
import { describeMachine, type Machine } from './machine.js';
import { measure } from './measure.js';
import { Servers, withClient } from './servers.js';
import { runScript, type Script } from './statement-load.js';
import { medianOf, type Spread, spreadOf } from './statistics.js';

const CONNECTIONS = 8;
/** So short that what else the machine does meanwhile is much the same with triggers and without. */
const SECONDS = 1;
/** In one transaction, one after another. */
const UPDATES_AT_ONCE = 20_000;

const UPDATE = `UPDATE ${TABLE} SET quantity = quantity + 1 WHERE id = $1`;
const INSERT = `INSERT INTO ${TABLE} SELECT $1, sku, title, status, quantity, price, weight, in_stock, created_at, reference, attributes, note FROM ${TABLE} WHERE id = 1`;
const SCRIPTS = {
  update: [{ text: UPDATE, takesId: true }],
  'pgbench -N': [
    { text: 'BEGIN', takesId: false },
    { text: UPDATE, takesId: true },
    { text: `SELECT quantity FROM ${TABLE} WHERE id = $1`, takesId: true },
    { text: 'INSERT INTO history VALUES ($1, CURRENT_TIMESTAMP)', takesId: true },
    { text: 'COMMIT', takesId: false },
  ],
  insert: [{ text: INSERT, takesId: true }],
  delete: [{ text: `DELETE FROM ${TABLE} WHERE id = $1`, takesId: true }],
} satisfies Record<string, Script>;
const MANY_UPDATES = `
  DO $$ BEGIN FOR i IN 1..${UPDATES_AT_ONCE} LOOP
    UPDATE ${TABLE} SET quantity = quantity + 1 WHERE id = 1 + (i * 7919) % (SELECT count FROM size); END LOOP; END $$`;
const ONE_UPDATE_OF_ALL = `UPDATE ${TABLE} SET quantity = quantity + 1`;

type ScriptName = keyof typeof SCRIPTS;
type Sync = 'on' | 'off';

const SIDES = ['without', 'with'] as const;

type Side = (typeof SIDES)[number];

/** Without and with triggers: transactions per second and the server's CPU time for each, medians; the shares of both rates, round by round. */
export interface TriggerCost {
  name: ScriptName;
  synchronousCommit: Sync;
  rate: Record<Side, number>;
  /** Microseconds; missing without /proc. */
  serverCpu: Record<Side, number>;
  share: Spread;
}

/** The result of `bench triggers`, as --json prints it. */
export interface TriggersReport {
  case: 'triggers';
  date: string;
  machine: Machine;
  versions: { node: string; postgres: string };
  rows: number;
  connections: number;
  rounds: number;
  costs: TriggerCost[];
  /** What the driver takes for itself of the machine for an update without triggers: microseconds of CPU time. */
  driverCpu: number;
  /** Milliseconds. */
  manyUpdates: Record<Side, Spread> & { updates: number };
  oneUpdateOfAll: Record<Side, Spread>;
}

/** What the triggers of `waypost capture install` cost those that write: with and without them in turns, on one server and table. */
export async function runTriggers({ rows, rounds, say, signal }: FullOptions): Promise<TriggersReport> {
  await using run = await benchFolder();
  const folder = run.path;
  await using servers = await Servers.start(folder, signal);
  say(`filling ${rows.toLocaleString('en-US')} rows`);
  await servers.createDatabases('triggers');
  const url = servers.urlOf('central', 'triggers');
  const plan = join(folder, 'plan.yaml');
  await writePlan(plan, 'triggers');
  await (await openDataSource(dataSourceOptions(url))).destroy();
  await withClient(url, async (client) => {
    await fillCentral(client, rows);
    await client.query('CREATE TABLE history (id bigint, at timestamptz); CREATE TABLE size (count bigint)');
    await client.query('INSERT INTO size VALUES ($1)', [rows]);
  });
  const bench = new TriggerBench(url, await readCheckedPlan(url, plan), rows, servers.central.pid);
  const result = await bench.measureRounds(rounds, say);
  return {
    case: 'triggers',
    date: new Date().toISOString(),
    machine: describeMachine(),
    versions: { node: process.versions.node, postgres: servers.version },
    rows,
    connections: CONNECTIONS,
    rounds,
    ...result,
  };
}

interface Leg {
  rate: number;
  /** Microseconds for each transaction. */
  serverCpu: number;
  driverCpu: number;
}

class TriggerBench {
  private nextNewId: bigint;

  constructor(
    private readonly url: string,
    private readonly plan: CheckedPlan,
    private readonly rows: number,
    private readonly serverPid: number,
  ) {
    this.nextNewId = BigInt(rows) + 1n;
  }

  async measureRounds(rounds: number, say: (line: string) => void) {
    const settings = (Object.keys(SCRIPTS) as ScriptName[]).flatMap((name) =>
      (['on', 'off'] as const).map((synchronousCommit) => ({
        name,
        synchronousCommit,
        legs: noLegs(),
      })),
    );
    const many: Record<Side, number[]> = { without: [], with: [] };
    const all: Record<Side, number[]> = { without: [], with: [] };
    await this.load('update', 'off'); // what is touched for the first time is written in full
    for (let round = 1; round <= rounds; round += 1) {
      // The second of two may find a busier machine: they alternate.
      const order = round % 2 === 1 ? SIDES : SIDES.toReversed();
      for (const { name, synchronousCommit, legs } of settings) {
        for (const side of order) {
          await this.prepare(side);
          legs[side].push(await this.leg(name, synchronousCommit));
        }
      }
      for (const side of order) {
        await this.prepare(side);
        many[side].push(await this.timed(MANY_UPDATES));
        await this.prepare(side);
        all[side].push(await this.timed(ONE_UPDATE_OF_ALL));
      }
      await withClient(this.url, (client) => client.query(`VACUUM FULL ${TABLE}`));
      const shares = settings.map(({ name, synchronousCommit, legs }) => `${name} ${synchronousCommit} ${percent(sharesOf(legs).at(-1)!)}`);
      say(`round ${round} of ${rounds}: ${shares.join(', ')}`);
    }
    return {
      costs: settings.map(({ name, synchronousCommit, legs }): TriggerCost => {
        const medians = (of: keyof Leg) => ({
          without: medianOf(legs.without.map((leg) => leg[of])),
          with: medianOf(legs.with.map((leg) => leg[of])),
        });
        return { name, synchronousCommit, rate: medians('rate'), serverCpu: medians('serverCpu'), share: spreadOf(sharesOf(legs)) };
      }),
      driverCpu: medianOf(settings[0]!.legs.without.map(({ driverCpu }) => driverCpu)),
      manyUpdates: { updates: UPDATES_AT_ONCE, without: spreadOf(many.without), with: spreadOf(many.with) },
      oneUpdateOfAll: { without: spreadOf(all.without), with: spreadOf(all.with) },
    };
  }

  /** With triggers or without; autovacuum is off, and what the last leg left is not the next one's. */
  private async prepare(side: Side): Promise<void> {
    await withClient(this.url, async (client) => {
      await withTransaction(client, 'READ WRITE', () => removeTriggers(client));
      if (side === 'with') await withTransaction(client, 'READ WRITE', () => captureFor(client, this.plan));
      await client.query('TRUNCATE waypost.changes, history');
      await client.query(`VACUUM ${TABLE}`);
    });
  }

  private async leg(name: ScriptName, synchronousCommit: Sync): Promise<Leg> {
    const { result: rate, ms, cpuSeconds } = await measure({ server: this.serverPid }, () => this.load(name, synchronousCommit));
    const perTransaction = (seconds: number | undefined): number => ((seconds ?? NaN) * 1e9) / (rate * ms);
    return { rate, serverCpu: perTransaction(cpuSeconds['server']), driverCpu: perTransaction(cpuSeconds['bench']) };
  }

  private load(name: ScriptName, synchronousCommit: Sync): Promise<number> {
    const firstNewId = BigInt(this.rows) + 1n;
    const anyId = (): bigint => BigInt(1 + Math.floor(Math.random() * this.rows));
    const nextId = {
      update: anyId,
      'pgbench -N': anyId,
      insert: () => this.nextNewId++,
      // Those that were inserted.
      delete: () => (this.nextNewId > firstNewId ? --this.nextNewId : undefined),
    }[name];
    const settings = { synchronous_commit: synchronousCommit };
    return runScript({ url: this.url, script: SCRIPTS[name], connections: CONNECTIONS, settings, seconds: SECONDS, nextId });
  }

  private async timed(statement: string): Promise<number> {
    return withClient(this.url, async (client) => (await measure({}, () => client.query(statement))).ms);
  }
}

function noLegs(): Record<Side, Leg[]> {
  return { without: [], with: [] };
}

function sharesOf({ without, with: after }: Record<Side, Leg[]>): number[] {
  return after.map(({ rate }, at) => rate / without[at]!.rate);
}

async function readCheckedPlan(url: string, path: string): Promise<CheckedPlan> {
  const pool = createPool({ url, applicationName: 'waypost-bench', maxConnections: 1, onIdleError: () => undefined });
  try {
    return await checkPlan(pool, await readPlan(path));
  } finally {
    await pool.end();
  }
}

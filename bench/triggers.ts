import 'reflect-metadata';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type pg from 'pg';
import { dataSourceOptions, openDataSource } from '../apps/central-api/src/database/database.module.js';
import { findHome } from '../scripts/postgres/home.js';
import { findDatabaseUser } from '../scripts/postgres/run-as.js';
import { projectRoot } from '../scripts/project-root.js';
import { fillCentral, TABLE, writePlan } from './dataset.js';
import type { FullOptions } from './full.js';
import { describeMachine, type Machine } from './machine.js';
import { measure } from './measure.js';
import { Servers, withClient } from './servers.js';
import { runScript, type Script } from './statement-load.js';
import { mediansByName, medianOf, type Spread, spreadOf } from './statistics.js';
import { runWaypost } from './waypost-command.js';

const CONNECTIONS = 8;
const SECONDS = 1.5;
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

/** Transactions per second without and with triggers, and the shares that are left, round by round. */
export interface TriggerCost {
  name: ScriptName;
  synchronousCommit: Sync;
  without: number;
  with: number;
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
  /** CPU seconds of the bench and of the server per 100,000 updates without triggers: what the driver takes for itself. */
  cpuSeconds: Record<string, number>;
  /** Milliseconds. */
  manyUpdates: { updates: number; without: Spread; with: Spread };
  oneUpdateOfAll: { without: Spread; with: Spread };
}

/** What the triggers of `waypost capture install` cost those that write: with and without them in turns, on one server and table. */
export async function runTriggers({ rows, rounds, say, signal }: FullOptions): Promise<TriggersReport> {
  const home = await findHome(join(projectRoot, 'var'), await findDatabaseUser());
  const folder = await mkdtemp(join(home.folder, 'bench-'));
  try {
    await chmod(folder, 0o755); // PostgreSQL may run as another user
    await using servers = await Servers.start(folder);
    signal.addEventListener('abort', () => void servers[Symbol.asyncDispose](), { once: true });
    signal.throwIfAborted();
    say(`filling ${rows.toLocaleString('en-US')} rows`);
    await servers.createDatabases('triggers');
    const url = servers.urlOf('central', 'triggers');
    const plan = join(folder, 'plan.yaml');
    await writePlan(plan, 'triggers');
    await (await openDataSource(dataSourceOptions(url))).destroy();
    const bench = new TriggerBench(url, plan, rows, servers.central.pid);
    await withClient(url, async (client) => {
      await fillCentral(client, rows);
      await client.query('CREATE TABLE history (id bigint, at timestamptz); CREATE TABLE size (count bigint)');
      await client.query('INSERT INTO size VALUES ($1)', [rows]);
    });
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
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface Leg {
  /** Per second, by script and synchronous_commit. */
  rates: Record<string, number>;
  cpuSeconds: Record<string, number>;
  manyUpdatesMs: number;
  oneUpdateOfAllMs: number;
}

class TriggerBench {
  private nextNewId: bigint;

  constructor(
    private readonly url: string,
    private readonly plan: string,
    private readonly rows: number,
    private readonly serverPid: number,
  ) {
    this.nextNewId = BigInt(rows) + 1n;
  }

  async measureRounds(rounds: number, say: (line: string) => void) {
    const legs: Record<'without' | 'with', Leg[]> = { without: [], with: [] };
    await this.leg('without'); // what is touched for the first time is written in full
    for (let round = 1; round <= rounds; round += 1) {
      // Whoever comes second may find a machine that is busier: they take turns.
      const order = round % 2 === 1 ? (['without', 'with'] as const) : (['with', 'without'] as const);
      for (const side of order) legs[side].push(await this.leg(side));
      const { rates: before } = legs.without.at(-1)!;
      const { rates: after } = legs.with.at(-1)!;
      say(
        `round ${round} of ${rounds}: ${Object.keys(before)
          .map((name) => `${name} ${((after[name]! / before[name]!) * 100).toFixed(0)} %`)
          .join(', ')}`,
      );
    }
    const costs = scriptsAndSettings().map(({ name, synchronousCommit, key }): TriggerCost => {
      const [before, after] = [legs.without.map(({ rates }) => rates[key]!), legs.with.map(({ rates }) => rates[key]!)];
      const share = spreadOf(after.map((rate, at) => rate / before[at]!));
      return { name, synchronousCommit, without: medianOf(before), with: medianOf(after), share };
    });
    const both = (of: 'manyUpdatesMs' | 'oneUpdateOfAllMs') => ({
      without: spreadOf(legs.without.map((leg) => leg[of])),
      with: spreadOf(legs.with.map((leg) => leg[of])),
    });
    return {
      costs,
      cpuSeconds: mediansByName(legs.without.map(({ cpuSeconds }) => cpuSeconds)),
      manyUpdates: { updates: UPDATES_AT_ONCE, ...both('manyUpdatesMs') },
      oneUpdateOfAll: both('oneUpdateOfAllMs'),
    };
  }

  private async leg(side: 'without' | 'with'): Promise<Leg> {
    await runWaypost(this.url, 'capture', 'remove');
    if (side === 'with') await runWaypost(this.url, 'capture', 'install', '--plan', this.plan);
    // Autovacuum is off, and what the last leg left is not this one's.
    await withClient(this.url, (client) => client.query('TRUNCATE waypost.changes, history'));
    const leg: Leg = { rates: {}, cpuSeconds: {}, manyUpdatesMs: NaN, oneUpdateOfAllMs: NaN };
    for (const { name, synchronousCommit, key } of scriptsAndSettings()) {
      await this.vacuum();
      const { result, cpuSeconds } = await measure({ postgres: this.serverPid }, () => this.load(name, synchronousCommit));
      leg.rates[key] = result;
      if (key === 'update on')
        for (const [who, used] of Object.entries(cpuSeconds)) leg.cpuSeconds[who] = (used * 1e5) / (result * SECONDS);
    }
    leg.manyUpdatesMs = await this.timed((client) => client.query(MANY_UPDATES));
    await this.vacuum();
    leg.oneUpdateOfAllMs = await this.timed((client) => client.query(ONE_UPDATE_OF_ALL));
    await withClient(this.url, (client) => client.query(`VACUUM FULL ${TABLE}`));
    return leg;
  }

  private load(name: ScriptName, synchronousCommit: Sync): Promise<number> {
    const firstNewId = BigInt(this.rows) + 1n;
    const nextId = {
      update: () => BigInt(1 + Math.floor(Math.random() * this.rows)),
      'pgbench -N': () => BigInt(1 + Math.floor(Math.random() * this.rows)),
      insert: () => this.nextNewId++,
      // Those that were inserted.
      delete: () => (this.nextNewId > firstNewId ? --this.nextNewId : undefined),
    }[name];
    const settings = { synchronous_commit: synchronousCommit };
    return runScript({ url: this.url, script: SCRIPTS[name], connections: CONNECTIONS, settings, seconds: SECONDS, nextId });
  }

  private async timed(work: (client: pg.Client) => Promise<unknown>): Promise<number> {
    return withClient(this.url, async (client) => (await measure({}, () => work(client))).ms);
  }

  private async vacuum(): Promise<void> {
    await withClient(this.url, (client) => client.query(`VACUUM ${TABLE}`));
  }
}

function scriptsAndSettings(): { name: ScriptName; synchronousCommit: Sync; key: string }[] {
  return (Object.keys(SCRIPTS) as ScriptName[]).flatMap((name) =>
    (['on', 'off'] as const).map((synchronousCommit) => ({ name, synchronousCommit, key: `${name} ${synchronousCommit}` })),
  );
}

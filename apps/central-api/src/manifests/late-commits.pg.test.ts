import type { Manifest } from '@waypost/contracts';
import { pinSession, withClient, withTransaction } from '@waypost/runtime';
import pg from 'pg';
import { Random } from '../../../../scripts/fleet/random.js';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { installCapture } from '../../testing/capture.js';
import { type Central, startCentral } from '../../testing/central.js';
import { runSql } from '../../testing/sql.js';
import { discardingStore } from '../read-models/discarding-store.js';
import { BUILD_POOL } from '../database/pools.js';
import { EpochKeeper } from '../epochs/epoch-keeper.js';
import { CHECKED_PLAN, type CheckedPlan } from '../plan/check-plan.js';
import { resolveScope } from '../scopes/resolve-scope.js';
import { buildSnapshot, shareSnapshot, type Snapshot } from '../snapshots/build-snapshot.js';
import { enterBuild } from '../chunk-store/builds.js';
import { ChangeTracker, type Tracked } from '../capture/change-tracker.js';
import { type OpenReads, TableReadCache } from '../capture/table-read-cache.js';

const SEED = Number(process.env['CHANGES_SEED'] ?? 20261121);
const WRITERS = 200;
const ROUNDS = 6;
const MACS = ['02:00:00:00:00:01', '02:00:00:00:00:02', '02:00:00:00:00:03'];
const SCHEMA = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY, site int NOT NULL);
  INSERT INTO devices SELECT ('02:00:00:00:00:0' || g)::macaddr, g FROM generate_series(1, ${MACS.length}) g;
  CREATE TABLE accounts (id int PRIMARY KEY, site int NOT NULL, balance int NOT NULL);
  INSERT INTO accounts SELECT g, 1 + g % ${MACS.length}, 0 FROM generate_series(1, ${WRITERS}) g;
  CREATE TABLE tags (account int PRIMARY KEY REFERENCES accounts, tag text NOT NULL);`;
const PLAN = `
version: 1
schemaVersion: 1
changes: triggers
scope:
  query: SELECT site FROM devices WHERE mac = :mac
tables:
  - name: accounts
    where: site = :site
  - name: tags
    where: EXISTS (SELECT FROM accounts WHERE id = account AND site = :site)
`;

let server: TestServer;
let central: Central;
/** Reads everything for each request. */
let rescanning: Central;
let databaseUrl: string;

beforeAll(async () => {
  server = await startTestServer({ settings: { max_connections: WRITERS + 60 } });
  databaseUrl = (await server.createDatabase('writers')).url;
  await runSql(databaseUrl, SCHEMA);
  central = await startCentral({ databaseUrl, plan: PLAN });
  rescanning = await startCentral({ databaseUrl, plan: PLAN.replace('changes: triggers', 'changes: none') });
  await installCapture(databaseUrl, PLAN);
});
afterAll(async () => {
  await rescanning?.[Symbol.asyncDispose]();
  await central?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

/** One transaction with pauses, savepoints, and an end of either kind; it touches only rows of its own, so that none waits for a lock. */
function transactionOf(random: Random, account: number): string[] {
  const pause = (): string => `SELECT pg_sleep(${random.below(60) / 1000})`;
  const change = (): string =>
    random.pick([
      `UPDATE accounts SET balance = balance + ${1 + random.below(9)} WHERE id = ${account}`,
      `UPDATE accounts SET site = ${1 + random.below(MACS.length)} WHERE id = ${account}`,
      `INSERT INTO tags VALUES (${account}, 'tag ${random.below(1000)}') ON CONFLICT (account) DO UPDATE SET tag = excluded.tag`,
      `DELETE FROM tags WHERE account = ${account}`,
    ]);
  const nested = (): string[] => ['SAVEPOINT s', change(), pause(), random.below(2) === 0 ? 'ROLLBACK TO s' : 'RELEASE s'];
  return ['BEGIN', pause(), change(), pause(), ...nested(), pause(), random.below(4) === 0 ? 'ROLLBACK' : 'COMMIT'];
}

/** Polls as a device would, each time with what it got last, until `signal` fires. @returns what it holds then, and how often that was no news */
async function keepPolling(held: Manifest, signal: AbortSignal): Promise<{ held: Manifest; unchanged: number }> {
  let unchanged = 0;
  while (!signal.aborted) {
    const { manifestId } = held;
    held = await central.poll(held);
    if (held.manifestId === manifestId) unchanged += 1;
  }
  return { held, unchanged };
}

/**
 * Looks again and again, until `signal` fires, whether what is called fresh is what the tables say in the same transaction.
 * @returns how many tables were compared
 */
async function keepComparing(signal: AbortSignal): Promise<number> {
  const [pool, plan, tracker, reads] = [
    central.app.get<pg.Pool>(BUILD_POOL),
    central.app.get<CheckedPlan>(CHECKED_PLAN),
    central.app.get(ChangeTracker),
    central.app.get(TableReadCache),
  ];
  let compared = 0;
  for (let at = 0; !signal.aborted; at += 1) {
    await withClient(pool, async (client) => {
      await enterBuild(client);
      const { epoch } = await central.app.get(EpochKeeper).current(client, []);
      const current = (await tracker.refresh(client)) as Tracked;
      await withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
        await pinSession(client);
        const scope = await resolveScope(client, plan, MACS[at % MACS.length] as string);
        const open = (await reads.open(client, { tracked: current, epoch, waitsForReads: false, macs: [] })) as OpenReads;
        // Writers go on between what is called fresh and what is read.
        const taken = await shareSnapshot(client, { ...open, put: async () => undefined }, { plan, scope, store: discardingStore });
        const rescanned = await buildSnapshot(client, { plan, scope, store: discardingStore });
        for (const [table, { index, source }] of (taken as Snapshot).tables.entries()) {
          if (source !== 'shared') continue;
          compared += 1;
          expect(index.totals()).toEqual(rescanned.tables[table]?.index.totals());
        }
      });
      await client.query('SELECT pg_advisory_unlock_all()');
    });
  }
  return compared;
}

test(`${WRITERS} writers with pauses, savepoints and rollbacks: no committed change is missed by a later “unchanged” (CHANGES_SEED=${SEED})`, async () => {
  const random = new Random(SEED, 'writers');
  const writers = await Promise.all(
    Array.from({ length: WRITERS }, async () => {
      const client = new pg.Client({ connectionString: databaseUrl });
      await client.connect();
      return client;
    }),
  );
  try {
    let compared = 0;
    let held = await Promise.all(MACS.map((mac) => central.manifestFor(mac)));
    for (let round = 1; round <= ROUNDS; round += 1) {
      const quiet = new AbortController();
      const polling = held.map((manifest) => keepPolling(manifest, quiet.signal));
      const comparing = keepComparing(quiet.signal);
      const scripts = writers.map((_, at) => transactionOf(random, at + 1));
      await Promise.all(
        writers.map(async (client, at) => {
          for (const statement of scripts[at] as string[]) await client.query(statement);
        }),
      );
      quiet.abort();
      held = (await Promise.all(polling)).map((end) => end.held);
      compared += await comparing;
      for (const [at, mac] of MACS.entries()) {
        const polled = await central.poll(held[at] as Manifest);
        // What others have read is taken without `have`, and nothing is without capture.
        const taken = await central.manifestFor(mac);
        const rescanned = await rescanning.manifestFor(mac);
        expect({ round, mac, tables: polled.tables }).toEqual({ round, mac, tables: rescanned.tables });
        expect({ round, mac, tables: taken.tables }).toEqual({ round, mac, tables: rescanned.tables });
        held[at] = polled;
      }
    }
    const [{ count } = { count: 0 }] = await central.sql<{ count: number }>('SELECT count(*)::int FROM waypost.changes');
    expect(count).toBeGreaterThan(WRITERS);
    expect(compared).toBeGreaterThan(ROUNDS);
  } finally {
    await Promise.all(writers.map((client) => client.end()));
  }
});

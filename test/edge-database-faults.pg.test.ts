import type pg from 'pg';
import { connect, MAC, query, SyncPair } from './support/sync-pair.js';
import { until } from './support/until.js';

/** Whatever happens to the device's database server, the process lives on, readers see the old rows or the new ones, and the next cycle heals. */

const HOLD = 42;
const HOLDING_FUNCTION = `
  CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(${HOLD}); RETURN NEW; END $$;`;

let pair: SyncPair;
let pid: number;

beforeAll(async () => {
  pair = await SyncPair.start({ edgeEnv: { LOCK_TIMEOUT: '30s' } });
  pid = pair.edge.pid;
  expect(await pair.sync()).toMatchObject({ status: 'Success' });
  await pair.atEdge(HOLDING_FUNCTION);
});

afterAll(async () => {
  await pair?.[Symbol.asyncDispose]();
});

/** A cycle stopped at a step, until it is let go. */
interface Held {
  reached: Promise<void>;
  release: () => Promise<void>;
}

/** Holds the request to central whose path contains `part`. */
function atRequest(part: string): () => Promise<Held> {
  return async () => {
    const reached = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    pair.gateway.before = async (path) => {
      if (!path.includes(part)) return;
      reached.resolve();
      await released.promise;
    };
    return {
      reached: reached.promise,
      release: async () => {
        pair.gateway.heal();
        released.resolve();
      },
    };
  };
}

/** Holds the edge's database session at a statement that has to wait for a lock of ours. */
function atStatement({ statement, hold, prepare, restore }: Record<'statement' | 'hold', string> & { prepare?: string; restore?: string }) {
  return async (): Promise<Held> => {
    if (prepare) await pair.atEdge(prepare);
    const holder = await connect(pair.edgeUrl);
    await holder.query(`BEGIN; ${hold}`);
    const watcher = await connect(pair.edgeUrl);
    const waiting = `SELECT FROM pg_stat_activity WHERE application_name = 'waypost-edge' AND wait_event_type = 'Lock' AND query LIKE '${statement}%'`;
    return {
      reached: until(async () => (await watcher.query(waiting)).rowCount === 1),
      release: async () => {
        for (const client of [holder, watcher]) await client.end().catch(() => undefined);
        if (restore) await pair.atEdge(restore);
      },
    };
  };
}

const STEPS: Record<string, () => Promise<Held>> = {
  'central is asked': atRequest('/request'),
  'tables are downloaded': atRequest('/chunks'),
  'locks are taken': atStatement({ statement: '%LOCK TABLE', hold: 'SELECT FROM shops' }),
  'rows are copied in': atStatement({
    statement: 'COPY',
    hold: `SELECT pg_advisory_xact_lock(${HOLD})`,
    prepare: 'CREATE TRIGGER hold BEFORE INSERT ON articles FOR EACH ROW WHEN (NEW.id = 98) EXECUTE FUNCTION hold()',
    restore: 'DROP TRIGGER hold ON articles',
  }),
  'the state is recorded': atStatement({ statement: '%edge_sync_state', hold: 'LOCK TABLE waypost.edge_sync_state IN SHARE MODE' }),
  'it commits': atStatement({
    statement: 'COMMIT',
    hold: `SELECT pg_advisory_xact_lock(${HOLD})`,
    // The load makes all constraints immediate: this one is deferred again, after that.
    prepare: `CREATE CONSTRAINT TRIGGER hold AFTER INSERT OR UPDATE ON waypost.edge_sync_state DEFERRABLE INITIALLY DEFERRED
              FOR EACH ROW EXECUTE FUNCTION hold();
              CREATE FUNCTION waypost.defer() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN SET CONSTRAINTS ALL DEFERRED; RETURN NULL; END';
              CREATE TRIGGER defer BEFORE INSERT OR UPDATE ON waypost.edge_sync_state FOR EACH STATEMENT EXECUTE FUNCTION waypost.defer()`,
    restore: 'DROP TRIGGER hold ON waypost.edge_sync_state; DROP TRIGGER defer ON waypost.edge_sync_state; DROP FUNCTION waypost.defer',
  }),
  'it acknowledges': atRequest('/ack'),
};

const TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'waypost-edge'";
const FAULTS: Record<string, () => Promise<unknown>> = {
  'all connections are terminated': () => pair.atEdge(TERMINATE),
  'the server is restarted': () => pair.edgeServer.restart(),
  'the server is killed and comes back': async () => {
    await pair.edgeServer.kill();
    await pair.edgeServer.start();
  },
};

/** Central's successes per manifest of this device, failed cycles included. */
async function expectOneSuccessPerManifest(): Promise<void> {
  const rows = await pair.atCentral<{ n: number }>(
    `SELECT count(*) FILTER (WHERE result = 'Success')::int AS n FROM waypost.manifests m LEFT JOIN waypost.sync_acknowledgements a USING (manifest_id)
     WHERE m.mac = '${MAC}' GROUP BY manifest_id`,
  );
  expect(new Set(rows.map(({ n }) => n))).toEqual(new Set([1]));
}

async function expectHealed(): Promise<void> {
  const healed = await pair.sync();
  expect(healed).toMatchObject({ httpStatus: 200, status: expect.stringMatching(/Success|Unchanged/) as unknown });
  expect(await pair.contents()).toBe(await pair.share());
  expect(pair.edge.pid).toBe(pid);
  await expectOneSuccessPerManifest();
}

describe.each(Object.keys(FAULTS))('%s', (fault) => {
  test.each(Object.keys(STEPS))('while %s', async (step) => {
    await pair.change();
    const [old, wanted] = [await pair.contents(), await pair.share()];
    const held = await (STEPS[step] as () => Promise<Held>)();
    const syncing = pair.sync();
    await held.reached;
    await (FAULTS[fault] as () => Promise<unknown>)();
    await held.release();
    const answer = await syncing;

    const contents = await pair.contents();
    // A server that ends may end the session that holds the cycle up first, and let it pass.
    const isHeldByServer =
      fault !== 'all connections are terminated' && !['central is asked', 'tables are downloaded', 'it acknowledges'].includes(step);
    if (isHeldByServer && contents === wanted) {
      await pair.sync(); // connections that broke at rest may be noticed only now
      return expectHealed();
    }
    const committed = step === 'it acknowledges';
    if (committed) expect(answer).toMatchObject({ status: 'Success', ack: expect.stringMatching(/sent|queued/) as unknown });
    else
      expect(answer).toMatchObject({
        httpStatus: 503,
        code: 'DATABASE_UNAVAILABLE',
        hint: expect.stringMatching(/heals by itself/) as unknown,
      });
    expect(contents).toBe(committed ? wanted : old);
    await expectHealed();
    const [last] = await pair.atEdge('SELECT status, error_code FROM waypost.edge_sync_log ORDER BY started_at DESC OFFSET 1 LIMIT 1');
    expect(last).toEqual(committed ? { status: 'Success', error_code: null } : { status: 'Failed', error_code: 'DATABASE_UNAVAILABLE' });
  });
});

test('a connection that is terminated while rows are read back for verification', async () => {
  const HUNT = `
    CREATE FUNCTION pg_temp.hunt() RETURNS boolean LANGUAGE plpgsql AS $$
    DECLARE until timestamptz := clock_timestamp() + interval '2 s';
    BEGIN
      LOOP
        PERFORM pg_stat_clear_snapshot();
        PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE application_name = 'waypost-edge' AND state = 'active' AND query LIKE 'COPY (SELECT%';
        IF FOUND THEN RETURN true; END IF;
        IF clock_timestamp() > until THEN RETURN false; END IF;
      END LOOP;
    END $$;`;
  const hunter = await connect(pair.edgeUrl);
  await hunter.query(HUNT);
  // Long enough to be caught.
  await pair.atCentral('UPDATE articles SET name = repeat(md5(name), 60)');
  for (let caught = false; !caught;) {
    await pair.change();
    const old = await pair.contents();
    const hunting = hunter.query<{ hunt: boolean }>('SELECT pg_temp.hunt()');
    const answer = await pair.sync();
    caught = (await hunting).rows[0]?.hunt ?? false;
    if (!caught) continue; // the statement was over too soon
    expect(answer).toMatchObject({ code: 'DATABASE_UNAVAILABLE' });
    expect(await pair.contents()).toBe(old);
  }
  await hunter.end();
  await expectHealed();
});

test('an outcome that could not be written down is written when the database is back', async () => {
  await pair.change();
  const held = await atRequest('/chunks')();
  const syncing = pair.sync();
  await held.reached;
  await pair.edgeServer.stop();
  await held.release();
  expect(await syncing).toMatchObject({ code: 'DATABASE_UNAVAILABLE' });
  expect(await pair.sync()).toMatchObject({ httpStatus: 503, code: 'DATABASE_UNAVAILABLE' });
  expect((await fetch(`${pair.edge.url}/healthz`)).status).toBe(200);
  expect((await fetch(`${pair.edge.url}/health`)).status).toBe(503);
  await pair.edgeServer.start();
  await expectHealed();
  const log = await pair.atEdge('SELECT status, error_code FROM waypost.edge_sync_log ORDER BY started_at DESC LIMIT 2');
  expect(log).toEqual([
    { status: 'Success', error_code: null },
    { status: 'Failed', error_code: 'DATABASE_UNAVAILABLE' },
  ]);
});

test.each(['merge', 'truncate'])(
  'a success by %s that central has heard of outlives a crash, also where commits need not be durable',
  async (strategy) => {
    await pair.atEdge('ALTER SYSTEM SET synchronous_commit = off');
    await pair.atEdge("ALTER SYSTEM SET wal_writer_delay = '10s'");
    await pair.edgeServer.restart();
    await pair.restartEdge({ LOAD_STRATEGY: strategy });
    pid = pair.edge.pid;
    await pair.change();
    await until(async () => (await pair.sync()).ack === 'sent');
    await pair.edgeServer.kill();
    await pair.edgeServer.start();
    expect(await pair.contents()).toBe(await pair.share());
    await pair.atEdge('ALTER SYSTEM RESET ALL');
    await pair.edgeServer.restart();
    await until(async () => (await pair.sync()).httpStatus === 200);
    await expectHealed();
  },
);

test('a read-only database is named as such, and healed when it takes writes again', async () => {
  await pair.change();
  const old = await pair.contents();
  await pair.atEdge(`ALTER DATABASE postgres SET default_transaction_read_only = on; ${TERMINATE}`);
  await until(async () => (await pair.sync()).code === 'DATABASE_READ_ONLY');
  expect((await pair.status()).alert).toMatchObject({ code: 'DATABASE_READ_ONLY' });
  expect(await pair.contents()).toBe(old);
  await pair.atEdge(`BEGIN READ WRITE; ALTER DATABASE postgres RESET default_transaction_read_only; COMMIT; ${TERMINATE}`);
  await until(async () => (await pair.sync()).httpStatus === 200);
  await expectHealed();
  expect((await pair.status()).alert).toBeNull();
});

test('a standby is named as read-only, and used as soon as it is promoted', async () => {
  await pair.change();
  const old = await pair.contents();
  await pair.edgeServer.restartAsStandby();
  await until(async () => (await pair.sync()).code === 'DATABASE_READ_ONLY');
  expect(await pair.contents()).toBe(old);
  await pair.atEdge('SELECT pg_promote()');
  await until(async () => (await pair.sync()).httpStatus === 200);
  await expectHealed();
});

test('a server without a free connection is named with what to do, and used as soon as it has one', async () => {
  await pair.change();
  const hoarded = await hoard(pair.edgeUrl);
  const answer = await pair.sync();
  expect(answer).toMatchObject({
    httpStatus: 503,
    code: 'DATABASE_UNAVAILABLE',
    hint: expect.stringContaining('max_connections') as unknown,
  });
  for (const client of hoarded) await client.end();
  // The server lets go of them a moment later.
  await until(async () => (await pair.sync()).httpStatus === 200);
  await expectHealed();
});

/** Takes all connections that the server has, those of the edge too. */
async function hoard(url: string): Promise<pg.Client[]> {
  const clients: pg.Client[] = [await connect(url)];
  for (let full = false; !full;) {
    await clients[0]?.query(TERMINATE);
    await connect(url).then(
      (client) => clients.push(client),
      (error: { code?: string }) => {
        expect(error.code).toBe('53300');
        full = true;
      },
    );
  }
  return clients;
}

test('readers that queue behind a waiting load are let through, again and again, while the load still waits', async () => {
  const lockTimeoutMs = 1000;
  await pair.restartEdge({ LOCK_TIMEOUT: `${lockTimeoutMs}ms` });
  pid = pair.edge.pid;
  await pair.change();
  const old = await pair.contents();
  // Locks are taken in the plan's order: the load has shops already while it waits for articles.
  const holder = await connect(pair.edgeUrl);
  await holder.query('BEGIN; SELECT FROM articles LIMIT 1');
  let ended = false;
  const syncing = pair.sync().finally(() => (ended = true));
  const waits: number[] = [];
  const reader = await connect(pair.edgeUrl);
  while (!ended && waits.filter((ms) => ms > lockTimeoutMs / 10).length < 2) {
    const startedAt = performance.now();
    await reader.query('SELECT FROM shops');
    waits.push(performance.now() - startedAt);
  }
  expect(Math.max(...waits) / lockTimeoutMs).toBeGreaterThan(0.1); // it did queue
  expect(await pair.contents()).toBe(old);
  for (const client of [reader, holder]) await client.end();
  await syncing;
  await expectHealed();
});

test('a table that is dropped during the download is made again in the same cycle', async () => {
  await pair.change();
  let dropped = false;
  pair.gateway.before = async (path) => {
    if (!path.includes('/chunks') || dropped) return;
    dropped = true;
    await query(pair.edgeUrl, 'DROP TABLE articles');
  };
  expect(await pair.sync()).toMatchObject({ status: 'Success' });
  pair.gateway.heal();
  await expectHealed();
});

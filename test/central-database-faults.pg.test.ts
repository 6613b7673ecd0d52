import { once } from 'node:events';
import { createServer } from 'node:net';
import type pg from 'pg';
import { connect, MAC, SyncPair } from './support/sync-pair.js';
import { until } from './support/until.js';

/** Whatever happens to central's database server, both processes live on, the device keeps its rows, and a cycle heals it. */

let pair: SyncPair;
let pids: number[];

beforeAll(async () => {
  pair = await SyncPair.start({ centralEnv: { LOCK_TIMEOUT: '300ms' } });
  pids = [pair.central.pid, pair.edge.pid];
  expect(await pair.sync()).toMatchObject({ status: 'Success' });
});

afterAll(async () => {
  await pair?.[Symbol.asyncDispose]();
});

/** The services' sessions, those that wait for a lock of ours, and what they wait with. */
const OURS = "application_name LIKE 'waypost-central%'";
const TERMINATE = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE ${OURS}`;

/** A lock of ours per step, for which central has to wait there. */
const STEPS: Record<string, { application: string; hold: string; operation: string }> = {
  'rows are read': { application: 'waypost-central-build', hold: 'LOCK TABLE articles', operation: 'request' },
  'the manifest is stored': { application: 'waypost-central', hold: 'LOCK TABLE waypost.manifests IN SHARE MODE', operation: 'request' },
  'the request is audited': {
    application: 'waypost-central',
    hold: 'LOCK TABLE waypost.sync_requests IN SHARE MODE',
    operation: 'request',
  },
  'the ack is stored': { application: 'waypost-central', hold: 'LOCK TABLE waypost.sync_acknowledgements IN SHARE MODE', operation: 'ack' },
};

const FAULTS: Record<string, () => Promise<unknown>> = {
  'all connections are terminated': () => pair.atCentral(TERMINATE),
  'the server is restarted': () => pair.centralServer.restart(),
  'the server is killed and comes back': async () => {
    await pair.centralServer.kill();
    await pair.centralServer.start();
  },
};

async function expectEqual(): Promise<void> {
  expect(await pair.contents()).toBe(await pair.share());
  expect([pair.central.pid, pair.edge.pid]).toEqual(pids);
  const successes = await pair.atCentral<{ n: number }>(
    `SELECT count(*)::int AS n FROM waypost.sync_acknowledgements WHERE mac = '${MAC}' AND result = 'Success' GROUP BY manifest_id`,
  );
  expect(new Set(successes.map(({ n }) => n))).toEqual(new Set([1]));
  const [last] = await pair.atCentral<{ manifest_id: string }>(
    `SELECT manifest_id FROM waypost.sync_acknowledgements WHERE mac = '${MAC}' AND result = 'Success' ORDER BY id DESC LIMIT 1`,
  );
  const [applied] = await pair.atEdge<{ value: string }>("SELECT value FROM waypost.edge_sync_state WHERE key = 'manifest_id'");
  expect(last?.manifest_id).toBe(applied?.value);
}

/** As `until`, with cycles: the edge's breaker may hold the first ones back. */
async function untilEqual(): Promise<void> {
  await until(async () => {
    const { httpStatus, code } = await pair.sync();
    if (httpStatus !== 200) expect(code).toBe('CENTRAL_UNREACHABLE');
    return httpStatus === 200;
  });
  await pair.sync(); // an ack that stayed behind
  await expectEqual();
}

describe.each(Object.keys(FAULTS))('%s', (fault) => {
  test.each(Object.keys(STEPS))('while %s', async (step) => {
    await pair.change();
    const old = await pair.contents();
    const [{ last }] = (await pair.atCentral<{ last: string }>('SELECT coalesce(max(id), 0) AS last FROM waypost.sync_requests')) as [
      { last: string },
    ];
    const { application, hold, operation } = STEPS[step] as (typeof STEPS)[string];
    const holder = await connect(pair.centralServer.url());
    await holder.query(`BEGIN; ${hold}`);
    const watcher = await connect(pair.centralServer.url());
    const syncing = pair.sync();
    const waiting = `SELECT FROM pg_stat_activity WHERE application_name = '${application}' AND wait_event_type = 'Lock'`;
    await until(async () => (await watcher.query(waiting)).rowCount === 1);
    if (operation === 'request') expect(await pair.contents()).toBe(old);
    await (FAULTS[fault] as () => Promise<unknown>)();
    for (const client of [holder, watcher]) await client.end().catch(() => undefined);

    // The edge asks again within the cycle; a server that takes longer to come back is for the next one.
    const answer = await syncing;
    if (answer.status === 'Success' && answer.ack === 'sent') await expectEqual();
    else {
      if (answer.status !== 'Success') expect(answer).toMatchObject({ code: 'CENTRAL_UNREACHABLE' });
      await untilEqual();
    }
    const refusal = `SELECT status, reason FROM waypost.sync_requests WHERE operation = '${operation}' AND id > ${last}`;
    // A line of the log may come after the answer that it is about.
    await until(async () => {
      const audited = await pair.atCentral<{ reason: string | null }>(refusal);
      const isLogged = pair.central.log.some((line) => line.includes('the refusal could not be audited'));
      return isLogged || audited.some(({ reason }) => reason === 'DATABASE_UNAVAILABLE');
    });
  });
});

test('while the server is down the device keeps its rows and learns why; refusals are logged; its return heals', async () => {
  await pair.change();
  const old = await pair.contents();
  await pair.centralServer.stop();
  const refused = await pair.sync();
  expect(refused).toMatchObject({
    httpStatus: 502,
    code: 'CENTRAL_UNREACHABLE',
    detail: expect.stringContaining('DATABASE_UNAVAILABLE') as unknown,
  });
  expect(pair.central.log.some((line) => line.includes('the refusal could not be audited'))).toBe(true);
  expect((await fetch(`${pair.central.url}/healthz`)).status).toBe(200);
  expect((await fetch(`${pair.central.url}/health`)).status).toBe(503);
  expect(await pair.contents()).toBe(old);
  await pair.centralServer.start();
  await untilEqual();
});

test('a long transaction neither delays a sync nor shows in it before it commits', async () => {
  const old = await pair.share();
  const writer = await connect(pair.centralServer.url());
  await writer.query(
    `BEGIN; UPDATE articles SET name = name || '?'; INSERT INTO articles SELECT id, 1, 'new' FROM generate_series(10001, 10100) id`,
  );
  expect(await pair.sync()).toMatchObject({ httpStatus: 200, status: 'Unchanged' });
  expect(await pair.contents()).toBe(old);
  await writer.query('COMMIT');
  await writer.end();
  expect(await pair.sync()).toMatchObject({ status: 'Success' });
  expect(await pair.contents()).not.toBe(old);
  await expectEqual();
});

test('a table that another session alters for long costs the request LOCK_TIMEOUT, not a build slot for as long', async () => {
  await pair.change();
  const old = await pair.contents();
  const migration = await connect(pair.centralServer.url());
  await migration.query('BEGIN; ALTER TABLE articles ADD COLUMN later int');
  const refused = await pair.sync();
  expect(refused).toMatchObject({ code: 'CENTRAL_UNREACHABLE', detail: expect.stringContaining('LOCK_TIMEOUT') as unknown });
  expect(await pair.contents()).toBe(old);
  const audited = await pair.atCentral(
    'SELECT DISTINCT status, reason FROM (SELECT * FROM waypost.sync_requests ORDER BY id DESC LIMIT 2) AS last',
  );
  expect(audited).toEqual([{ status: 'Failed', reason: 'LOCK_TIMEOUT' }]);
  await migration.query('ROLLBACK');
  await migration.end();
  await untilEqual();
});

test.each<[string, () => Promise<unknown>, () => Promise<unknown>]>([
  [
    'is switched to read-only',
    () => pair.atCentral(`ALTER DATABASE postgres SET default_transaction_read_only = on; ${TERMINATE}`),
    () => pair.atCentral(`BEGIN READ WRITE; ALTER DATABASE postgres RESET default_transaction_read_only; COMMIT; ${TERMINATE}`),
  ],
  ['is a standby until it is promoted', () => pair.centralServer.restartAsStandby(), () => pair.atCentral('SELECT pg_promote()')],
])('a database that %s refuses devices with the reason, and serves them afterwards', async (_name, break_, heal) => {
  await pair.change();
  const old = await pair.contents();
  await break_();
  await until(async () => (await pair.sync()).detail?.includes('DATABASE_READ_ONLY') ?? false);
  expect(await pair.contents()).toBe(old);
  await heal();
  await untilEqual();
});

test('a server without a free connection refuses devices with the reason, and serves them afterwards', async () => {
  await pair.change();
  const hoarded = await hoard(pair.centralServer.url());
  const refused = await pair.sync();
  expect(refused).toMatchObject({ code: 'CENTRAL_UNREACHABLE', hint: expect.stringContaining('max_connections') as unknown });
  for (const client of hoarded) await client.end();
  await untilEqual();
});

test('central waits for a database that starts after it', async () => {
  await pair.centralServer.stop();
  await pair.central.end('SIGTERM');
  await using _unready = await refusing(Number(new URL(pair.centralServer.url()).port), () => pair.centralServer.start());
  await pair.restartCentral();
  pids[0] = pair.central.pid;
  expect(pair.central.log.some((line) => line.includes('database not ready, trying again'))).toBe(true);
  await untilEqual();
});

/** Stands in for a server that takes no connections; after the first one that it refuses it makes room, and `next` runs. */
async function refusing(port: number, next: () => Promise<void>): Promise<AsyncDisposable> {
  let started: Promise<void> | undefined;
  const server = createServer((socket) => {
    socket.destroy();
    started ??= new Promise((resolve) => server.close(resolve)).then(next);
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return { [Symbol.asyncDispose]: async () => started };
}

/** Takes all connections that the server has, those of central too. */
async function hoard(url: string): Promise<pg.Client[]> {
  const clients: pg.Client[] = [await connect(url)];
  for (let full = false; !full;) {
    await clients[0]?.query(TERMINATE);
    await connect(url).then(
      (client) => clients.push(client),
      () => (full = true),
    );
  }
  return clients;
}

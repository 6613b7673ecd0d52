import { openManifest } from '@waypost/contracts';
import { withTransaction } from '@waypost/runtime';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import type { Edge } from '../../testing/edge.js';
import type { FakeCentral } from '../../testing/fake-central.js';
import { type FakePair, startFakePair } from '../../testing/fake-pair.js';
import { tableRows } from '../../testing/table-rows.js';
import { readSlice } from './read-slice.js';
import { ScrubLog } from './scrub-log.js';
import { Scrubber } from './scrubber.js';

const CREATE = `
  CREATE TABLE readings (meter int, id uuid, value numeric, note text, PRIMARY KEY (meter, id));
  INSERT INTO readings SELECT g % 50, md5(g::text)::uuid, g / 7.0, repeat('x', g % 40) FROM generate_series(1, 6000) g;
  CREATE TYPE mood AS ENUM ('good', 'bad');
  CREATE TABLE moods (name text PRIMARY KEY, mood mood[]);
  INSERT INTO moods SELECT 'm' || g, ARRAY['good']::mood[] FROM generate_series(1, 500) g;
  CREATE TABLE empty (id int PRIMARY KEY);`;
const TABLES = ['readings', 'moods', 'empty'];

let server: TestServer;
let source: string;
let central: FakeCentral;
let edge: Edge;
let pair: FakePair;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());

beforeEach(async () => {
  pair = await startFakePair({ server, source: CREATE, tables: TABLES });
  ({ source, central, edge } = pair);
  central.deltas = true;
  central.matches = true;
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
});
afterEach(() => pair?.[Symbol.asyncDispose]());

async function expectEqual(): Promise<void> {
  expect(await tableRows(edge.databaseUrl, TABLES)).toEqual(await tableRows(source, TABLES));
}

async function expectClean(): Promise<void> {
  const answer = await edge.scrub();
  expect(answer).toMatchObject({ httpStatus: 200, tables: 3, rows: 6500, drifts: [] });
  expect(answer.repair).toBeUndefined();
}

test('a scrub reads every row, says so, and leaves a mirror alone that is as it was verified', async () => {
  const before = await edge.query('SELECT ctid::text, xmin::text FROM readings ORDER BY 1');
  expect(await edge.status()).toMatchObject({ lastScrub: null, wholeAgeMs: expect.any(Number) as unknown });
  await expectClean();
  expect(await edge.status()).toMatchObject({ lastScrub: { trigger: 'request', rows: 6500, driftedChunks: 0 }, alert: null });
  expect(await edge.query('SELECT ctid::text, xmin::text FROM readings ORDER BY 1')).toEqual(before);
  expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
});

const ROW = '(meter, id) = (SELECT meter, id FROM readings ORDER BY meter, id OFFSET 3000 LIMIT 1)';
const DRIFTS: [string, string, { table: string; chunks?: number }][] = [
  ['a value', `UPDATE readings SET value = value + 1 WHERE ${ROW}`, { table: 'readings', chunks: 1 }],
  [
    'a value that is equal, of other bytes',
    `UPDATE readings SET value = value::numeric(40, 30) WHERE ${ROW}`,
    { table: 'readings', chunks: 1 },
  ],
  ['a row that is gone', `DELETE FROM readings WHERE ${ROW}`, { table: 'readings', chunks: 1 }],
  ['a row too many', "INSERT INTO readings VALUES (25, md5('too many')::uuid, 1, NULL)", { table: 'readings', chunks: 1 }],
  ['a row behind all others', "INSERT INTO readings VALUES (99, md5('last')::uuid, 1, NULL)", { table: 'readings', chunks: 1 }],
  ['all rows', "UPDATE readings SET note = 'local'", { table: 'readings' }],
  ['a row of a table without key ranges', "UPDATE moods SET mood = ARRAY['bad']::mood[] WHERE name = 'm7'", { table: 'moods' }],
  ['a row of an empty table', 'INSERT INTO empty VALUES (1)', { table: 'empty' }],
];

test.each(DRIFTS)('%s that was altered here is found with its key range, and put right', async (_, alter, expected) => {
  await edge.query(alter);
  const answer = await edge.scrub();
  expect(answer).toMatchObject({ httpStatus: 200, drifts: [expected], repair: { status: 'Success', ack: 'sent' } });
  const [drift] = answer.drifts;
  const way = expected.table === 'readings' ? 'chunks' : 'whole';
  expect(answer.repair!.tables.find(({ name }) => name === expected.table)).toMatchObject({ action: 'loaded', way });
  if (drift!.firstKey !== null) expect(drift!.firstKey).toMatch(/^\d+, [0-9a-f-]{36}$/);
  await expectEqual();
  const recorded = await edge.query(
    'SELECT s.repair_cycle_id AS cycle, d.table_name AS table FROM waypost.edge_drifts d JOIN waypost.edge_scrubs s ON s.id = d.scrub_id',
  );
  expect(recorded).toEqual([{ cycle: answer.repair!.cycleId, table: expected.table }]);
  await expectClean();
});

test('rows that drift again and again raise an alert, until a scrub finds them right', async () => {
  const alter = `UPDATE readings SET value = value + 1 WHERE ${ROW}`;
  await edge.query(alter);
  await edge.scrub();
  expect((await edge.status()).alert).toBeNull();
  await edge.query(alter);
  await edge.scrub();
  expect((await edge.status()).alert).toMatchObject({ code: 'MIRROR_DRIFTED', detail: expect.stringContaining('readings') as unknown });
  const metrics = await (await fetch(`${edge.url}/metrics`)).text();
  expect(metrics).toContain('waypost_edge_alerts{code="MIRROR_DRIFTED",service="edge-service"} 1');
  expect(metrics).toMatch(/waypost_edge_scrubs_total\{result="drifted".*\} 2/);
  expect(metrics).toMatch(/waypost_edge_drifted_chunks_total.* 2/);
  await expectClean();
  expect((await edge.status()).alert).toBeNull();
});

test('rows that drift in scrub after scrub are put right less and less often, and at once where an operator asks', async () => {
  await edge.restart({ SCRUB_INTERVAL: '1h' });
  const repaired: boolean[] = [];
  for (let scrub = 1; scrub <= 5; scrub += 1) {
    await edge.query(`UPDATE readings SET value = value + 1 WHERE ${ROW}`);
    const { drifts, repair } = await edge.part(Scrubber).run('schedule');
    expect(drifts).toMatchObject([{ table: 'readings', chunks: 1 }]);
    expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
    if (repair) await expectEqual();
    repaired.push(repair !== undefined);
  }
  expect(repaired).toEqual([true, true, false, true, false]);
  expect((await edge.status()).alert).toMatchObject({ code: 'MIRROR_DRIFTED' });
  expect(await edge.scrub()).toMatchObject({ drifts: [{ table: 'readings' }], repair: { status: 'Success' } });
  await expectEqual();
  await expectClean();
});

test('what is found while central is away is put right by the next cycle that reaches it', async () => {
  await edge.query(`DELETE FROM readings WHERE ${ROW}`);
  await central.stop();
  expect(await edge.scrub()).toMatchObject({
    httpStatus: 200,
    drifts: [{ table: 'readings' }],
    repair: { status: 'Failed', error: 'CENTRAL_UNREACHABLE' },
  });
  await central.listen();
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  await expectEqual();
});

test('what was found is told to central with the acknowledgement of the repair, and once', async () => {
  await edge.query(`UPDATE readings SET value = value + 1 WHERE ${ROW}`);
  const { drifts } = await edge.scrub();
  expect(central.acks.at(-1)).toMatchObject({
    status: 'Success',
    drifts: drifts.map((drift) => ({ ...drift, foundAt: expect.any(String) as unknown })),
  });
  await central.change('UPDATE readings SET value = 0 WHERE meter = 3');
  expect(await edge.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  expect(central.acks.at(-1)).not.toHaveProperty('drifts');
});

test('what was found while acknowledgements cannot be sent is told with the next one that can', async () => {
  central.refusals.set('/ack', 'drop');
  await edge.query(`UPDATE readings SET value = value + 1 WHERE ${ROW}`);
  expect(await edge.scrub()).toMatchObject({ drifts: [{ table: 'readings' }], repair: { status: 'Success', ack: 'queued' } });
  await edge.query(`DELETE FROM readings WHERE ${ROW}`);
  expect(await edge.scrub()).toMatchObject({ drifts: [{ table: 'readings' }], repair: { status: 'Success', ack: 'queued' } });
  central.heal();
  await edge.sync();
  expect(central.acks.flatMap((ack) => ack.drifts ?? [])).toHaveLength(2);
  expect(await edge.query('SELECT FROM waypost.edge_drifts WHERE reported_at IS NULL')).toEqual([]);
});

test('more than an acknowledgement takes is told with the next ones', async () => {
  await edge.query(
    `INSERT INTO waypost.edge_drifts (table_name, chunks, first_key, last_key) SELECT 'readings', 1, g::text, g::text FROM generate_series(1, 150) g`,
  );
  for (const told of [100, 50]) {
    await central.change('UPDATE readings SET value = value + 1 WHERE meter = 3');
    expect(await edge.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
    expect(central.acks.at(-1)?.drifts).toHaveLength(told);
  }
  expect(new Set(central.acks.flatMap((ack) => ack.drifts ?? []).map(({ firstKey }) => firstKey)).size).toBe(150);
  expect(await edge.query('SELECT FROM waypost.edge_drifts WHERE reported_at IS NULL')).toEqual([]);
});

test('a device that holds nothing has nothing to scrub', async () => {
  await using other = await startFakePair({ server, source: CREATE, tables: TABLES });
  expect(await other.edge.scrub()).toMatchObject({ httpStatus: 409, code: 'NOTHING_HELD' });
});

test('syncs that go on meanwhile are no drift', async () => {
  let isOver = false;
  const changes = (async () => {
    for (let round = 0; !isOver; round += 1) {
      await central.change(
        `UPDATE readings SET value = ${round} WHERE meter = ${round % 50}; UPDATE moods SET mood = NULL WHERE name = 'm${round}'`,
      );
      expect(await edge.sync()).toMatchObject({ status: 'Success' });
    }
  })();
  for (let round = 0; round < 10; round += 1) expect(await edge.scrub()).toMatchObject({ httpStatus: 200, rows: 6500, drifts: [] });
  isOver = true;
  await changes;
});

test('a scheduled scrub goes on with one that was interrupted; one that is asked for reads everything', async () => {
  const scrubs = edge.part(ScrubLog);
  const begin = async (trigger: 'schedule' | 'request') => scrubs.begin(trigger, 86_400_000);
  await edge.query(`
    INSERT INTO waypost.edge_scrubs (id, trigger, started_at, tables, chunks, rows, progress)
    VALUES ('earlier', 'schedule', now() - interval '1 hour', 1, 7, 6000, '{"done": ["readings"]}')`);
  expect(await scrubs.findDueMs(86_400_000, 86_400_000)).toBe(0);
  expect(await begin('schedule')).toMatchObject({ id: 'earlier', tables: 1, rows: 6000, progress: { done: ['readings'] } });
  await edge.query(`UPDATE readings SET value = value + 1 WHERE ${ROW}`);
  expect(await edge.scrub()).toMatchObject({ tables: 3, rows: 6500, drifts: [{ table: 'readings' }] });
  const scrub = await begin('schedule');
  await scrubs.record(scrub, true);
  expect((await begin('schedule')).id).not.toBe('earlier');
  await edge.query('DELETE FROM waypost.edge_scrubs WHERE completed_at IS NULL');
  expect(await scrubs.findDueMs(86_400_000, 86_400_000)).toBeGreaterThan(0);
});

test('a scheduled scrub that is under way gives way to one that is asked for, and is not taken up again', async () => {
  const blocker = new pg.Client({ connectionString: edge.databaseUrl });
  await blocker.connect();
  try {
    await blocker.query('BEGIN; LOCK TABLE moods IN ACCESS EXCLUSIVE MODE');
    const scheduled = edge.part(Scrubber).run('schedule');
    const gaveWay = expect(scheduled).rejects.toMatchObject({ code: 'SCRUB_RUNNING' });
    await until(async () => (await edge.query("SELECT FROM pg_locks WHERE relation = 'moods'::regclass AND NOT granted")).length > 0);
    const asked = edge.scrub();
    await gaveWay;
    await blocker.query('ROLLBACK');
    expect(await asked).toMatchObject({ httpStatus: 200, trigger: 'request', tables: 3, rows: 6500, drifts: [] });
    expect(await edge.part(Scrubber).findDueMs(86_400_000)).toBeGreaterThan(0);
  } finally {
    await blocker.end();
  }
});

test('of two scrubs that are asked for at once, one reads, and the other says so', async () => {
  const answers = await Promise.all([edge.scrub(), edge.scrub()]);
  expect(answers.map(({ httpStatus }) => httpStatus).sort()).toEqual([200, 409]);
  expect(answers.find(({ httpStatus }) => httpStatus === 409)).toMatchObject({ code: 'SCRUB_RUNNING' });
});

test('slices read each chunk once, go on behind the last key that is left, and begin again where none is', async () => {
  const client = new pg.Client({ connectionString: edge.databaseUrl });
  await client.connect();
  try {
    const read = async (keys: string[]) => {
      const [row] = await edge.query<{ value: string }>("SELECT value FROM waypost.edge_sync_state WHERE key = 'manifest'");
      const manifest = openManifest(JSON.parse(row!.value));
      const slice = { table: 'readings', keys, sliceBytes: 30_000 };
      return withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', () =>
        readSlice(client, manifest, slice, new AbortController().signal),
      );
    };
    let rows = 0;
    let slices = 0;
    let keys: string[] | undefined = [];
    const seen: string[][] = [];
    while (keys) {
      const slice: Awaited<ReturnType<typeof read>> = await read(keys);
      rows += slice!.rows;
      slices += 1;
      ({ keys } = slice!);
      if (keys) seen.push(keys);
    }
    expect(rows).toBe(6000);
    expect(slices).toBeGreaterThan(3);
    // A sync that replaces the chunk of the last key: an earlier one is left.
    const all = (await read(seen[1]!))!.rows;
    const gone = [...seen[1]!.slice(0, -1), 'ff'.repeat(20)];
    expect((await read(gone))!.rows).not.toBe(all);
    expect((await read(gone))!.keys!.at(-1)).toBe(seen[1]!.at(-1));
    expect((await read(['ff'.repeat(20)]))!.keys!.at(-1)).toBe(seen[0]!.at(-1));
  } finally {
    await client.end();
  }
});

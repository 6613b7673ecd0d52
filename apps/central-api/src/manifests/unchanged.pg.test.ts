import { rm } from 'node:fs/promises';
import { jest } from '@jest/globals';
import type { Manifest } from '@waypost/contracts';
import pg from 'pg';
import { startTestServer, type TestDatabase, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { awaitsTable } from '../../testing/awaits-table.js';
import { installCapture } from '../../testing/capture.js';
import { type Central, startCentral } from '../../testing/central.js';
import { haveOf } from '../../testing/messages.js';
import { runSql } from '../../testing/sql.js';
import { SnapshotSweeper } from '../maintenance/snapshot-sweeper.js';

const MAC = '02:00:00:00:00:01';
const SCHEMA = `
  CREATE TYPE mood AS ENUM ('good', 'bad');
  CREATE TABLE devices (mac macaddr PRIMARY KEY, shop int NOT NULL);
  INSERT INTO devices VALUES ('${MAC}', 1);
  CREATE TABLE members (user_id int PRIMARY KEY, shop int NOT NULL);
  INSERT INTO members SELECT g, 1 + g % 2 FROM generate_series(1, 20) g;
  CREATE TABLE users (id int PRIMARY KEY, name text, mood mood) PARTITION BY RANGE (id);
  CREATE TABLE users_all PARTITION OF users FOR VALUES FROM (0) TO (1000);
  INSERT INTO users SELECT g, 'user ' || g, 'good' FROM generate_series(1, 20) g;
  CREATE TABLE prices (id int PRIMARY KEY, price numeric, until timestamptz);
  INSERT INTO prices SELECT g, g, 'infinity' FROM generate_series(1, 20) g;
  CREATE TYPE shade AS ENUM ('light', 'dark'); CREATE TYPE paint AS (shade shade, name text);
  CREATE TABLE walls (id int PRIMARY KEY, layers paint[]); INSERT INTO walls VALUES (1, ARRAY[ROW('dark', 'x')::paint]);
  CREATE SCHEMA blue; CREATE SCHEMA green;
  CREATE TABLE blue.doors (id int PRIMARY KEY); CREATE TABLE green.doors (id int PRIMARY KEY);
  INSERT INTO blue.doors VALUES (1); INSERT INTO green.doors VALUES (2);
  CREATE SEQUENCE numbers;
  CREATE UNLOGGED TABLE sessions (id int); INSERT INTO sessions VALUES (1);
  CREATE FUNCTION gross(net numeric) RETURNS numeric IMMUTABLE LANGUAGE sql AS 'SELECT net * 1.1';
  CREATE VIEW cheap AS SELECT id, gross(price) AS price FROM prices WHERE price < 15;`;
const PLAN = `
version: 1
schemaVersion: 1
changes: triggers
scope:
  query: SELECT shop FROM devices WHERE mac = :mac
tables:
  - name: users
    where: EXISTS (SELECT FROM members WHERE members.user_id = users.id AND members.shop = :shop)
  - name: walls
  - name: blue.doors
  - name: cheap
    key: [id]
`;

let server: TestServer;
let database: TestDatabase;
let central: Central;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());

beforeEach(async () => {
  database = await server.createDatabase('shop');
  await runSql(database.url, SCHEMA);
});
afterEach(() => central?.[Symbol.asyncDispose]());

async function start({ plan = PLAN, install = true } = {}): Promise<void> {
  central = await startCentral({ databaseUrl: database.url, plan });
  if (install) await installCapture(database.url, plan);
}

/** Whether the poll was answered although no business table can be read. */
async function isAnsweredUnread(held: Manifest): Promise<boolean> {
  const blocker = new pg.Client({ connectionString: database.url });
  await blocker.connect();
  try {
    await blocker.query('BEGIN; LOCK TABLE devices, members, users, prices, cheap IN ACCESS EXCLUSIVE MODE');
    const asked = central.poll(held);
    const blocked = async (): Promise<boolean> => {
      while (!(await awaitsTable(central.sql))) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        if (answered) return false;
      }
      return true;
    };
    let answered = false;
    void asked.then(() => (answered = true));
    const wasBlocked = await Promise.race([blocked(), asked.then(() => false)]);
    await blocker.query('ROLLBACK');
    expect((await asked).manifestId).toBe(held.manifestId);
    return !wasBlocked;
  } finally {
    await blocker.end();
  }
}

test('a device that is up to date is answered, and audited, without a table being read; after a restart too', async () => {
  await start();
  const first = await central.manifestFor(MAC);
  expect(await isAnsweredUnread(first)).toBe(true);
  expect(await central.audit(1)).toMatchObject([{ status: 'Issued', reason: 'unchanged', manifest_id: first.manifestId }]);
  await central[Symbol.asyncDispose]();
  central = await startCentral({ databaseUrl: database.url, plan: PLAN });
  // A new process has to look up what the plan reads, once.
  await central.poll(first);
  expect(await isAnsweredUnread(first)).toBe(true);
});

const MINIMAL = { prefer: 'return=minimal' };
const ask = (held: Manifest, headers: Record<string, string> = MINIMAL) =>
  central.post<object>('/api/device-sync/request', { mac: MAC, ...haveOf(held) }, headers);
const SIGNED = { signature: expect.objectContaining({ trust: 1 }) as object };
const shortOf = ({ manifestId, sha256 }: Manifest) => ({ unchanged: { manifestId, sha256 }, ...SIGNED });

test.each([
  ['triggers', PLAN],
  ['none', PLAN.replace('changes: triggers', 'changes: none')],
])('a device that keeps its manifest is only told which one it is, with changes: %s', async (_, plan) => {
  await start({ plan });
  const first = await central.manifestFor(MAC);
  expect((await ask(first)).body).toEqual(shortOf(first));
  const { status, headers, body } = await ask(first);
  expect([status, headers.get('preference-applied'), body]).toEqual([200, 'return=minimal', shortOf(first)]);
  expect(headers.get('date')).not.toBeNull();
  expect(await central.audit(1)).toMatchObject([{ status: 'Issued', reason: 'unchanged', manifest_id: first.manifestId }]);
  expect((await ask(first, {})).body).toEqual({ manifest: first, ...SIGNED });
  expect((await ask(first, { prefer: 'return=representation, return=minimal' })).body).toEqual({ manifest: first, ...SIGNED });
});

test('what differs, lives too short or is not held is sent whole, whatever the device prefers', async () => {
  await start();
  const first = await central.manifestFor(MAC);
  const whole = async (held?: Manifest) => {
    const { body } = await central.post<{ manifest: Manifest }>(
      '/api/device-sync/request',
      { mac: MAC, ...(held ? haveOf(held) : {}) },
      MINIMAL,
    );
    return body.manifest;
  };
  expect(await whole()).toEqual(first);
  await runSql(database.url, 'UPDATE users SET name = upper(name) WHERE id = 4');
  const second = await whole(first);
  expect(second.tables).not.toEqual(first.tables);
  expect((await ask(second)).body).toEqual(shortOf(second));
  await central.sql("UPDATE waypost.manifests SET expires_at = now() + interval '1 minute'");
  const third = await whole(second);
  expect(third.manifestId).not.toBe(second.manifestId);
  expect((await ask(third)).body).toEqual(shortOf(third));
});

test('a manifest whose tables are not stored any more is not confirmed: they are read and stored again', async () => {
  await start();
  const first = await central.manifestFor(MAC);
  expect(await isAnsweredUnread(first)).toBe(true);
  await rm(central.store, { recursive: true });
  expect((await central.download(first, 'users')).status).toBe(410);
  expect(await isAnsweredUnread(first)).toBe(false);
  expect((await central.download(first, 'users')).status).toBe(200);
  expect(await isAnsweredUnread(first)).toBe(true);
});

test.each([
  ['holds nothing', (held: Manifest) => ({ ...held, manifestId: '00000000000000000000000000' })],
  ['is of another epoch', (held: Manifest) => ({ ...held, epoch: 'another' })],
  ['is ahead, as after a restore', (held: Manifest) => ({ ...held, sequence: held.sequence + 1000 })],
])('a device that %s gets what a snapshot says', async (_, claim) => {
  await start();
  const first = await central.manifestFor(MAC);
  const { tables } = await central.poll(claim(first));
  expect(tables).toEqual(first.tables);
});

test.each([
  ['a mirrored row', 'UPDATE users SET name = upper(name) WHERE id = 4'],
  ['a row behind a view', 'UPDATE prices SET price = 1 WHERE id = 3'],
  ['a row that is only joined', 'UPDATE members SET shop = 1 WHERE user_id = 3; UPDATE members SET shop = 2 WHERE user_id = 4'],
  ['TRUNCATE', 'TRUNCATE prices'],
  ['a view’s definition', 'CREATE OR REPLACE VIEW cheap AS SELECT id, gross(price) AS price FROM prices WHERE price < 10'],
  ['a function’s body', "CREATE OR REPLACE FUNCTION gross(net numeric) RETURNS numeric IMMUTABLE LANGUAGE sql AS 'SELECT net * 1.2'"],
  ['an enum’s label', "ALTER TYPE mood RENAME VALUE 'good' TO 'fine'"],
  ['a label of an enum within a composite within an array', "ALTER TYPE shade RENAME VALUE 'dark' TO 'darker'"],
  ['an attribute of a composite within an array', 'ALTER TYPE paint ADD ATTRIBUTE gloss int'],
  ['schemas that take each other’s name', 'ALTER SCHEMA blue RENAME TO old; ALTER SCHEMA green RENAME TO blue'],
  [
    'a column’s type',
    'DROP VIEW cheap; ALTER TABLE prices ALTER price TYPE numeric(10, 2); CREATE VIEW cheap AS SELECT id, price FROM prices WHERE price < 15',
  ],
  [
    'a new partition',
    "CREATE TABLE users_more PARTITION OF users FOR VALUES FROM (1000) TO (2000); INSERT INTO members VALUES (1500, 1); INSERT INTO users_more VALUES (1500, 'x', 'bad')",
  ],
  [
    'a trigger that was switched off',
    'ALTER TABLE prices DISABLE TRIGGER waypost_capture_update; UPDATE prices SET price = 1 WHERE id = 3',
  ],
])('%s changes: the next poll brings it, and when capture is whole again polls are free again', async (_, change) => {
  await start();
  const first = await central.manifestFor(MAC);
  await central.poll(first);
  await runSql(database.url, change);
  const second = await central.poll(first);
  expect(second.tables).not.toEqual(first.tables);
  expect((await central.manifestFor(MAC)).tables).toEqual(second.tables);
  expect((await central.poll(first)).manifestId).toBe(second.manifestId);
  await installCapture(database.url, PLAN);
  await central.poll(second);
  expect(await isAnsweredUnread(second)).toBe(true);
});

test.each([
  [
    'a function that fits better than the one that was meant',
    'CREATE FUNCTION is_shown(id int) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$SELECT false$$',
  ],
  [
    'a function that a function of the plan calls',
    'CREATE OR REPLACE FUNCTION largest() RETURNS numeric IMMUTABLE LANGUAGE sql AS $$SELECT 0$$',
  ],
  [
    'an operator that fits better',
    `CREATE FUNCTION differ(int, int) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$SELECT false$$;
     CREATE OPERATOR public.<-> (LEFTARG = int, RIGHTARG = int, FUNCTION = differ)`,
  ],
  ['a cast by which a call has two meanings', 'CREATE CAST (int AS label) WITH FUNCTION label_of(int) AS IMPLICIT'],
])('%s, is defined: that alters what the plan says, and the tables are read', async (_, sql) => {
  await runSql(
    database.url,
    `CREATE FUNCTION largest() RETURNS numeric IMMUTABLE LANGUAGE sql AS 'SELECT 1000';
     CREATE FUNCTION is_shown(id numeric) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT id < public.largest()';
     CREATE FUNCTION same(numeric, numeric) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT true';
     CREATE OPERATOR public.<-> (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = same);
     CREATE TYPE label AS (id int);
     CREATE FUNCTION is_shown(label) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT false';
     CREATE FUNCTION label_of(int) RETURNS label IMMUTABLE LANGUAGE sql AS 'SELECT ROW($1)::label'`,
  );
  await start({ plan: PLAN.replace('name: walls', 'name: walls\n    where: is_shown(id) AND id <-> 1') });
  const first = await central.manifestFor(MAC);
  expect(await isAnsweredUnread(first)).toBe(true);
  await runSql(database.url, sql);
  const next = await central.poll(first).catch(() => undefined);
  expect(next?.manifestId).not.toBe(first.manifestId);
});

test('what changes nothing for this device is read once, then polls are free again', async () => {
  await start();
  const first = await central.manifestFor(MAC);
  await runSql(database.url, 'UPDATE prices SET price = price + 100 WHERE id = 20');
  expect(await isAnsweredUnread(first)).toBe(false);
  expect(await isAnsweredUnread(first)).toBe(true);
});

test('a transaction that was open while the snapshot was taken is not missed, however late it commits', async () => {
  await start();
  const writer = new pg.Client({ connectionString: database.url });
  await writer.connect();
  await writer.query("BEGIN; UPDATE users SET name = 'late' WHERE id = 1; SAVEPOINT s; UPDATE prices SET price = 2 WHERE id = 2");
  const first = await central.manifestFor(MAC);
  expect((await central.poll(first)).manifestId).toBe(first.manifestId);
  // Later transactions come and are seen meanwhile.
  await runSql(database.url, 'UPDATE members SET shop = 1 WHERE user_id = 1');
  const second = await central.poll(first);
  expect((await central.poll(second)).manifestId).toBe(second.manifestId);
  await writer.query('COMMIT');
  await writer.end();
  const third = await central.poll(second);
  expect(third.tables).not.toEqual(second.tables);
});

test.each([
  ['without triggers', PLAN, false],
  ['where the plan does not ask for it', PLAN.replace('changes: triggers', 'changes: none'), true],
  ['where a query tells the time', PLAN.replace('key: [id]', "key: [id]\n    where: price < date_part('year', now())"), true],
  ['where a query draws lots', PLAN.replace('key: [id]', 'key: [id]\n    where: random() < 2'), true],
  ['where a literal means today', PLAN.replace('key: [id]', "key: [id]\n    where: price > 0 AND date '2020-01-01' < 'today'"), true],
  ['where a text is read as a date', PLAN.replace('key: [id]', "key: [id]\n    where: date '2020-01-01' < ('to' || 'day')::date"), true],
  [
    'where a text search configuration decides',
    PLAN.replace('name: walls', "name: walls\n    where: to_tsvector('simple', 'a') @@ 'a'"),
    true,
  ],
  [
    'where a query looks at a sequence',
    PLAN.replace('key: [id]', 'key: [id]\n    where: price < (SELECT last_value + 14 FROM numbers)'),
    true,
  ],
  ['where a query asks for CURRENT_DATE', PLAN.replace('key: [id]', "key: [id]\n    where: CURRENT_DATE > date '2020-01-01'"), true],
])('%s, every poll reads', async (_, plan, install) => {
  await start({ plan, install });
  const first = await central.manifestFor(MAC);
  await central.poll(first);
  expect(await isAnsweredUnread(first)).toBe(false);
});

test('what every live manifest has seen is pruned, and nothing is missed for it', async () => {
  await start();
  const first = await central.manifestFor(MAC);
  await runSql(database.url, 'UPDATE prices SET price = price + 100 WHERE id = 20');
  await central[Symbol.asyncDispose]();
  central = await startCentral({ databaseUrl: database.url, plan: PLAN });
  expect(await central.sql('SELECT FROM waypost.changes')).toHaveLength(1);
  await central.poll(first);
  await central[Symbol.asyncDispose]();
  central = await startCentral({ databaseUrl: database.url, plan: PLAN });
  await until(async () => (await central.sql('SELECT FROM waypost.changes')).length === 0);
  await central.poll(first);
  expect(await isAnsweredUnread(first)).toBe(true);
});

test('where others apply rows that fire no statement triggers, every poll reads', async () => {
  await start();
  const first = await central.manifestFor(MAC);
  await central.poll(first);
  expect(await isAnsweredUnread(first)).toBe(true);
  await runSql(database.url, "SELECT pg_replication_origin_create('another applier')");
  try {
    await central.poll(first);
    expect(await isAnsweredUnread(first)).toBe(false);
  } finally {
    await runSql(database.url, "SELECT pg_replication_origin_drop('another applier')");
  }
});

/** Of this process, and so of central; it stands still then. */
function setClock(days: number): void {
  const timers = ['setTimeout', 'setInterval', 'setImmediate', 'clearTimeout', 'clearInterval', 'clearImmediate'] as const;
  const doNotFake = ['hrtime', 'nextTick', 'performance', 'queueMicrotask', ...timers] as const;
  jest.useFakeTimers({ now: Date.now() + days * 86_400_000, doNotFake: [...doNotFake] });
}

test.each([
  ['ahead of', 10],
  ['behind', -10],
])('central’s clock is days %s PostgreSQL’s: what was issued is kept, can be downloaded, and is current', async (_, days) => {
  await start();
  setClock(days);
  try {
    const manifest = await central.manifestFor(MAC);
    await central.app.get(SnapshotSweeper).sweep();
    for (const { name } of manifest.tables) expect((await central.download(manifest, name)).status).toBe(200);
    expect((await central.poll(manifest)).manifestId).toBe(manifest.manifestId);
    expect(await isAnsweredUnread(manifest)).toBe(true);
    expect(Date.parse(manifest.expiresAt)).toBeGreaterThan(Date.now());
  } finally {
    jest.useRealTimers();
  }
});

test('a manifest that one clock lets go and another takes for alive is not current once changes were pruned without it', async () => {
  await start();
  const manifest = await central.manifestFor(MAC);
  expect((await central.poll(manifest)).manifestId).toBe(manifest.manifestId);
  await central.sql(`UPDATE users SET name = 'changed' WHERE id = 2`);
  await central.sql('DELETE FROM waypost.table_reads');
  await central.sql(`UPDATE waypost.manifests SET expires_at = expires_at - interval '2 days'`);
  // A central that starts prunes.
  await using _other = await startCentral({ databaseUrl: database.url, plan: PLAN });
  await until(async () => (await central.sql('SELECT FROM waypost.changes')).length === 0);
  await central.sql(`UPDATE waypost.manifests SET expires_at = expires_at + interval '2 days'`);
  const next = await central.poll(manifest);
  expect(next.manifestId).not.toBe(manifest.manifestId);
  expect((await central.poll(next)).manifestId).toBe(next.manifestId);
  expect((await central.audit(1))[0]).toMatchObject({ reason: 'unchanged' });
});

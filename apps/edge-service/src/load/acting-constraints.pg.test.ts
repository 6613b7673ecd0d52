import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { type Edge, queryAt } from '../../testing/edge.js';
import type { FakeCentral } from '../../testing/fake-central.js';
import { type FakePair, startFakePair } from '../../testing/fake-pair.js';

const TABLES = ['parents', 'children', 'payments'];
const CREATE = `
  CREATE TABLE parents (id int PRIMARY KEY, code text NOT NULL, rank int, slot int NOT NULL, name text);
  CREATE TABLE children (id int PRIMARY KEY, parent_id int NOT NULL, name text);
  CREATE TABLE payments (id int, at date, parent_id int NOT NULL, PRIMARY KEY (id, at));
  INSERT INTO parents SELECT g, 'code ' || g, g, g, 'p' || g FROM generate_series(1, 10) g;
  INSERT INTO children SELECT g, 1 + g % 10, 'c' || g FROM generate_series(1, 50) g;
  INSERT INTO payments SELECT g, date '2026-01-01' + g % 60, 1 + g % 10 FROM generate_series(1, 50) g;`;
/** The device has constraints that central lacks: as an application's own schema has them. */
const LOCAL = `
  CREATE TABLE parents (id int PRIMARY KEY, code text NOT NULL UNIQUE, rank int UNIQUE, slot int NOT NULL UNIQUE, name text);
  CREATE TABLE children (id int PRIMARY KEY, parent_id int NOT NULL REFERENCES parents ON DELETE CASCADE, name text);
  CREATE TABLE payments (id int, at date, parent_id int NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
  CREATE TABLE payments_01 PARTITION OF payments FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
  CREATE TABLE payments_02 PARTITION OF payments FOR VALUES FROM ('2026-02-01') TO ('2026-04-01');
  ALTER TABLE payments_01 ADD CONSTRAINT of_parent FOREIGN KEY (parent_id) REFERENCES parents;`;

let server: TestServer;
let source: string;
let central: FakeCentral;
let edge: Edge;
let pair: FakePair;

beforeAll(async () => {
  server = await startTestServer();
});
afterEach(() => pair?.[Symbol.asyncDispose]());
afterAll(() => server?.[Symbol.asyncDispose]());

async function start(local: string, { tables = TABLES, more = '' } = {}): Promise<void> {
  pair = await startFakePair({ server, source: CREATE + more, tables, local });
  ({ source, central, edge } = pair);
  expect(await edge.sync()).toMatchObject({ httpStatus: 200, status: 'Success' });
}

const contents = (url: string, tables = TABLES): Promise<unknown[][]> =>
  Promise.all(tables.map((table) => queryAt(url, `SELECT t::text AS row FROM ${table} AS t ORDER BY 1`)));

async function expectEqual(): Promise<void> {
  expect(await edge.sync()).toMatchObject({ httpStatus: 200, status: 'Success' });
  expect(await contents(edge.databaseUrl)).toEqual(await contents(source));
  expect(await edge.sync({ verify: true })).toMatchObject({ status: 'Unchanged' });
}

async function expectRefused(code: string, ...named: string[]): Promise<void> {
  const before = await contents(edge.databaseUrl);
  const answer = await edge.sync();
  expect(answer).toMatchObject({ code });
  for (const part of named) expect(answer.detail).toContain(part);
  expect(await contents(edge.databaseUrl)).toEqual(before);
}

describe('unique values that pass from row to row, where foreign keys act on the table', () => {
  test.each([
    ['two rows swap a text', "UPDATE parents SET code = CASE id WHEN 1 THEN 'code 2' ELSE 'code 1' END WHERE id < 3"],
    ['a nullable number rotates', 'UPDATE parents SET rank = 1 + rank % 10'],
    ['a number that must be there rotates', 'UPDATE parents SET slot = 1 + slot % 10'],
    [
      'all of them, beside rows that come and go',
      `
      UPDATE parents SET rank = 1 + rank % 10, slot = 11 - slot, code = 'code ' || (1 + id % 10);
      UPDATE children SET parent_id = 2 WHERE parent_id = 3; UPDATE payments SET parent_id = 2 WHERE parent_id = 3;
      DELETE FROM parents WHERE id = 3; INSERT INTO parents VALUES (11, 'code 4', 4, 8, 'new')`,
    ],
  ])('%s: the change is loaded, and no action fires', async (_, sql) => {
    await start(LOCAL);
    await edge.query(
      'CREATE TABLE own (id int PRIMARY KEY, parent_id int REFERENCES parents ON DELETE CASCADE); INSERT INTO own SELECT g, g FROM generate_series(1, 10) g WHERE g <> 3',
    );
    const own = await contents(edge.databaseUrl, ['own']);
    await central.change(sql);
    await expectEqual();
    expect(await contents(edge.databaseUrl, ['own'])).toEqual(own);
  });
});

describe('an identity column beside the key', () => {
  const IDENTITY = LOCAL.replace('rank int UNIQUE', 'rank int GENERATED ALWAYS AS IDENTITY');
  const OWN =
    'CREATE TABLE own (id int PRIMARY KEY, parent_id int REFERENCES parents ON DELETE CASCADE); INSERT INTO own VALUES (1, 1), (2, 2)';
  const SOURCE = 'ALTER TABLE parents ALTER rank SET NOT NULL';

  test.each([
    ['keeps its value', "UPDATE parents SET name = 'x'"],
    ['changes its value', 'UPDATE parents SET rank = rank + 100'],
  ])('%s: rows of the device’s own that reference the row stay', async (_, sql) => {
    await start(IDENTITY, { more: SOURCE });
    await edge.query(OWN);
    await central.change(sql);
    await expectEqual();
    expect(await edge.query('SELECT FROM own')).toHaveLength(2);
    expect(await edge.query("SELECT attidentity FROM pg_attribute WHERE attrelid = 'parents'::regclass AND attname = 'rank'")).toEqual([
      { attidentity: 'a' },
    ]);
  });
});

describe('foreign keys of partitions', () => {
  test('one that a partition of the mirror declares is the mirror’s own, also where its table comes first', async () => {
    await start(LOCAL, { tables: ['payments', 'children', 'parents'] });
    await central.change(
      'DELETE FROM children WHERE parent_id = 5; DELETE FROM payments WHERE parent_id = 5; DELETE FROM parents WHERE id = 5',
    );
    await expectEqual();
  });

  test('a row of a partition that the device’s own rows reference is not deleted, and they stay', async () => {
    await start(LOCAL);
    await edge.query(`
      CREATE TABLE receipts (id int PRIMARY KEY, payment_id int, at date, FOREIGN KEY (payment_id, at) REFERENCES payments_01 ON DELETE CASCADE);
      INSERT INTO receipts SELECT id, id, at FROM payments_01`);
    const receipts = await edge.query('SELECT * FROM receipts ORDER BY id');
    await central.change("DELETE FROM payments WHERE at < '2026-01-05'");
    await expectRefused('LOCAL_REFERENCE', 'public.receipts');
    expect(await edge.query('SELECT * FROM receipts ORDER BY id')).toEqual(receipts);
    await edge.query('DELETE FROM receipts');
    await expectEqual();
  });
});

describe('a unique column that the device’s own rows reference changes at central', () => {
  test.each(['CASCADE', 'SET NULL', 'NO ACTION'])('ON UPDATE %s: the sync is refused, and they stay as they are', async (action) => {
    await start(LOCAL);
    await edge.query(`
      CREATE TABLE own (id int PRIMARY KEY, code text REFERENCES parents (code) ON UPDATE ${action});
      INSERT INTO own VALUES (1, 'code 1')`);
    await central.change("UPDATE parents SET code = 'another' WHERE id = 1");
    await expectRefused('LOCAL_REFERENCE', 'public.own', 'own_code_fkey');
    expect(await edge.query('SELECT code FROM own')).toEqual([{ code: 'code 1' }]);
    await edge.query('DELETE FROM own');
    await expectEqual();
  });
});

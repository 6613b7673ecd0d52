import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { type Edge, queryAt } from '../../testing/edge.js';
import type { FakeCentral } from '../../testing/fake-central.js';
import { type FakePair, startFakePair } from '../../testing/fake-pair.js';

/** Unique values that pass from row to row, in tables that foreign keys act on: PostgreSQL checks unique indexes row by row, and actions follow the old row. */
const TABLES = ['seats', 'labels'];
const SOURCE = `
  CREATE TABLE seats (id int PRIMARY KEY, code text NOT NULL, slot int NOT NULL);
  CREATE TABLE labels (id int PRIMARY KEY, code text NOT NULL);
  INSERT INTO seats SELECT g, 'code ' || g, g FROM generate_series(1, 10) g;
  INSERT INTO labels SELECT g, 'code ' || 1 + g % 10 FROM generate_series(1, 20) g`;
const SEATS = 'CREATE TABLE seats (id int PRIMARY KEY, code text NOT NULL UNIQUE, slot int NOT NULL UNIQUE)';
const LABELS = 'CREATE TABLE labels (id int PRIMARY KEY, code text CONSTRAINT of_seat REFERENCES seats (code)';
const OWN = `
  CREATE TABLE own (id int PRIMARY KEY, seat_id int REFERENCES seats ON DELETE CASCADE ON UPDATE CASCADE);
  INSERT INTO own SELECT g, g FROM generate_series(1, 3) g`;
const SWAP = "UPDATE seats SET code = CASE id WHEN 1 THEN 'code 2' ELSE 'code 1' END WHERE id < 3";
const SWAP_SLOTS = 'UPDATE seats SET slot = 3 - slot WHERE slot < 3';

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

async function start(local: string): Promise<void> {
  pair = await startFakePair({ server, source: SOURCE, tables: TABLES, local });
  ({ source, central, edge } = pair);
  expect(await edge.sync()).toMatchObject({ httpStatus: 200, status: 'Success' });
  await edge.query(OWN);
}

const contents = (url: string, tables: readonly string[]): Promise<unknown[][]> =>
  Promise.all(tables.map((table) => queryAt(url, `SELECT t::text AS row FROM ${table} AS t ORDER BY 1`)));

async function expectLoaded(): Promise<void> {
  const own = await contents(edge.databaseUrl, ['own']);
  expect(await edge.sync()).toMatchObject({ httpStatus: 200, status: 'Success' });
  expect(await contents(edge.databaseUrl, TABLES)).toEqual(await contents(source, TABLES));
  expect(await contents(edge.databaseUrl, ['own'])).toEqual(own);
  expect(await edge.sync({ verify: true })).toMatchObject({ status: 'Unchanged' });
}

async function expectRefused(code: string, ...named: string[]): Promise<void> {
  const before = await contents(edge.databaseUrl, [...TABLES, 'own']);
  const answer = await edge.sync();
  expect(answer).toMatchObject({ code });
  for (const part of named) expect(answer.detail).toContain(part);
  expect(await contents(edge.databaseUrl, [...TABLES, 'own'])).toEqual(before);
}

describe('where a mirrored table references the unique column', () => {
  test.each(['CASCADE', 'SET NULL', 'SET DEFAULT', 'RESTRICT', 'NO ACTION', 'NO ACTION DEFERRABLE INITIALLY DEFERRED'])(
    'ON UPDATE %s: rows that swap their values are loaded, and the referencing rows are those of central',
    async (action) => {
      await start(`${SEATS}; ${LABELS} ON UPDATE ${action})`);
      await central.change(SWAP);
      await expectLoaded();
      await central.change(`UPDATE seats SET code = 'code ' || 1 + id % 10; UPDATE labels SET code = 'code 7' WHERE code = 'code 3'`);
      await expectLoaded();
    },
  );

  test.each(['CASCADE', 'SET NULL', 'RESTRICT'])(
    'ON DELETE %s: a row that takes the value of one that leaves is loaded',
    async (action) => {
      await start(`${SEATS}; ${LABELS} ON DELETE ${action})`);
      await central.change("DELETE FROM seats WHERE id = 9; INSERT INTO seats VALUES (99, 'code 9', 99)");
      await expectLoaded();
    },
  );

  test('the foreign key is as it was: its definition, its comment, and whether it was checked', async () => {
    await start(
      `${SEATS}; ${LABELS}); ALTER TABLE labels DROP CONSTRAINT of_seat, ADD CONSTRAINT of_seat FOREIGN KEY (code) REFERENCES seats (code) ON UPDATE CASCADE NOT VALID;
       COMMENT ON CONSTRAINT of_seat ON labels IS 'it''s "the" seat'`,
    );
    const describeKey = () =>
      edge.query(`SELECT pg_get_constraintdef(oid) AS definition, convalidated, obj_description(oid, 'pg_constraint') AS comment
        FROM pg_constraint WHERE conname = 'of_seat'`);
    const before = await describeKey();
    expect(before).toMatchObject([{ comment: 'it\'s "the" seat', convalidated: false }]);
    await central.change(SWAP);
    await expectLoaded();
    expect(await describeKey()).toEqual(before);
  });

  test('rows of the device’s own that reference a value which passes on stay as they are: the sync is refused', async () => {
    await start(`${SEATS}; ${LABELS} ON UPDATE CASCADE)`);
    await edge.query("CREATE TABLE signs (code text REFERENCES seats (code)); INSERT INTO signs VALUES ('code 1')");
    await central.change(SWAP);
    await expectRefused('LOCAL_REFERENCE', 'public.signs', 'signs_code_fkey');
    await edge.query('DELETE FROM signs');
    await expectLoaded();
  });

  test('a retained row whose value a new row takes: the sync is refused, and names the reference that retains it', async () => {
    await start(`${SEATS}; ${LABELS} ON UPDATE CASCADE)`);
    central.onReferenced = 'keep';
    await central.change('UPDATE seats SET id = 100 WHERE id = 1');
    await expectRefused('LOCAL_REFERENCE', '(id)=(1) by public.own (own_seat_id_fkey)', 'seats_code_key');
    await edge.query('DELETE FROM own WHERE seat_id = 1');
    await expectLoaded();
  });
});

describe('temporary values', () => {
  test.each([
    ['a check refuses those below', 'ALTER TABLE seats ADD CHECK (slot > 0)'],
    ['a check refuses those above', 'ALTER TABLE seats ADD CHECK (slot < 100 AND slot <> 11 AND slot <> 12)'],
    ['the index is one of an expression', 'DROP INDEX IF EXISTS x; CREATE UNIQUE INDEX ON seats ((slot * 2))'],
    ['an exclusion constraint', 'ALTER TABLE seats ADD EXCLUDE USING btree (slot WITH =)'],
  ])('%s: the change is loaded', async (_, sql) => {
    await start(`${SEATS}; ${LABELS})`);
    await edge.query(sql);
    await central.change(SWAP_SLOTS);
    await expectLoaded();
  });

  test('none is possible: the sync is refused, and names the constraint', async () => {
    await start(`${SEATS}; ${LABELS})`);
    await edge.query('ALTER TABLE seats ADD CHECK (slot BETWEEN 1 AND 10)');
    await central.change(SWAP_SLOTS);
    await expectRefused('LOAD_REFUSED', 'seats_slot_key');
    await edge.query('ALTER TABLE seats DROP CONSTRAINT seats_slot_key');
    await expectLoaded();
  });
});

test('a unique index that a partition alone has', async () => {
  await start(`
    CREATE TABLE seats (id int PRIMARY KEY, code text NOT NULL, slot int NOT NULL) PARTITION BY RANGE (id);
    CREATE TABLE seats_low PARTITION OF seats FOR VALUES FROM (0) TO (5);
    CREATE TABLE seats_high PARTITION OF seats FOR VALUES FROM (5) TO (1000);
    CREATE UNIQUE INDEX ON seats_low (slot);
    CREATE TABLE labels (id int PRIMARY KEY, code text)`);
  await central.change(SWAP_SLOTS);
  await expectLoaded();
});

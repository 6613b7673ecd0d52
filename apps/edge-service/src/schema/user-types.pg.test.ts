import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { type Edge, queryAt } from '../../testing/edge.js';
import type { FakeCentral } from '../../testing/fake-central.js';
import { type FakePair, startFakePair } from '../../testing/fake-pair.js';

const TYPES = `
  CREATE TYPE mark AS ENUM ('a', 'b');
  CREATE DOMAIN price AS numeric(9, 2) CHECK (VALUE > 0);
  CREATE TYPE item AS (name text, price price, marks mark[]);
  CREATE TYPE span AS RANGE (subtype = float8, subtype_diff = float8mi, multirange_type_name = spans);`;
const TABLE = `
  CREATE TABLE orders (id int PRIMARY KEY, items item[], during span, pauses spans);
  INSERT INTO orders VALUES (1, ARRAY[ROW('x', 1.50, '{a}')::item], '[1,2)', '{[1,2),[3,4)}'), (2, NULL, NULL, NULL);`;

let server: TestServer;
let source: string;
let central: FakeCentral;
let edge: Edge;
let pair: FakePair;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());
afterEach(() => pair?.[Symbol.asyncDispose]());

async function start(onCentral: string, table: string): Promise<void> {
  pair = await startFakePair({ server, source: onCentral, tables: [table] });
  ({ source, central, edge } = pair);
}

const orders = (url: string) => queryAt(url, 'SELECT o::text FROM orders o ORDER BY id');

test('enums, domains, composites and ranges are created with the table that needs them', async () => {
  await start(TYPES + TABLE, 'orders');
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await orders(edge.databaseUrl)).toEqual(await orders(source));
});

test('types that are there already are used, whatever checks their domains have', async () => {
  await start(TYPES + TABLE, 'orders');
  await edge.query(TYPES);
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await orders(edge.databaseUrl)).toEqual(await orders(source));
});

test.each([
  ["CREATE TYPE mark AS ENUM ('b', 'a')", 'the enum type public.mark has the labels b, a here, the labels a, b in the manifest'],
  [
    'CREATE DOMAIN price AS numeric(8, 2)',
    'the domain type public.price has the base type numeric(8,2) here, the base type numeric(9,2) in the manifest',
  ],
  ['CREATE TYPE item AS (name text, cost int)', 'the composite type public.item has the attributes name text, cost integer here'],
  [
    'CREATE TYPE span AS RANGE (subtype = int4)',
    'the range type public.span has the subtype integer and the multirange public.span_multirange here',
  ],
  ['CREATE DOMAIN item AS text', 'public.item is not a composite type here'],
  ['CREATE TABLE item (id int)', 'public.item is not a composite type here'],
])('%s: the sync is refused before anything is downloaded, and the difference is named', async (sql, difference) => {
  await start(TYPES + TABLE, 'orders');
  await edge.query(sql);
  const answer = await edge.sync();
  expect(answer).toMatchObject({ httpStatus: 409, code: 'SCHEMA_MISMATCH', detail: expect.stringContaining(difference) as unknown });
  expect(central.downloads('orders')).toBe(0);
});

test.each([
  [
    'CREATE EXTENSION citext; CREATE DOMAIN email AS citext; CREATE TABLE users (id email PRIMARY KEY)',
    'public.citext',
    'CREATE EXTENSION citext.',
  ],
  [
    'CREATE TYPE words AS RANGE (subtype = text, collation = "C"); CREATE TABLE users (id int PRIMARY KEY, w words[])',
    'public.words[]',
    'CREATE TYPE public.words AS RANGE (subtype = text, collation = "C", multirange_type_name = public.words_multirange).',
  ],
  [
    'CREATE EXTENSION hstore; CREATE TYPE pack AS (h hstore); CREATE TABLE users (id int PRIMARY KEY, p pack)',
    'public.hstore',
    'CREATE EXTENSION hstore.',
  ],
])('%s: the missing type is named, with the statement that makes it; once made, the sync succeeds', async (sql, type, statement) => {
  await start(sql, 'users');
  const refused = await edge.sync();
  expect(refused).toMatchObject({ httpStatus: 409, code: 'SCHEMA_MISMATCH' });
  expect(refused.detail).toBe(`This database lacks types that the manifest needs: ${type}.`);
  expect(refused.hint).toBe(`Create them on the device as they are on central: ${statement}`);
  expect(central.downloads('users')).toBe(0);
  await edge.query(statement.slice(0, -1));
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
});

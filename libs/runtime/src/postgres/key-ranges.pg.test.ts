import { BorderKeys, BorderKeysBuilder, keyFieldsOf, quoteIdentifier, sha256 } from '@waypost/contracts';
import fc from 'fast-check';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { describeTables } from './catalog.js';
import { canonicalQuery, keyOrdersOf, readChunks } from './copy-rows.js';
import {
  chunksOf,
  cutRuns,
  findKeyObstacle,
  findRangeObstacle,
  hasOrderedIndex,
  type KeyedSource,
  locateAmong,
  locateKeys,
  runsOf,
} from './key-ranges.js';
import { spliceRows } from './splice-rows.js';
import { pinSession } from './session-settings.js';
import { withTransaction } from './transaction.js';

interface Chunk {
  bytes: Buffer;
  digest: string;
  rowCount: number;
  lastKey: Buffer;
}

let server: TestServer;
let url: string;
let client: pg.Client;

beforeAll(async () => {
  server = await startTestServer();
  ({ url } = await server.createDatabase('ranges'));
});
beforeEach(async () => {
  client = new pg.Client({ connectionString: url });
  await client.connect();
});
afterEach(() => client.end());
afterAll(() => server?.[Symbol.asyncDispose]());

const chunkOf = (bytes: Buffer, rowCount: number, lastKey: () => Buffer): Chunk => ({
  bytes: Buffer.from(bytes),
  digest: sha256(bytes).toString('hex'),
  rowCount,
  lastKey: lastKey(),
});

/** In a transaction that sees the table as it is now. */
const inSnapshot = <T>(work: () => Promise<T>): Promise<T> =>
  withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
    await pinSession(client);
    return work();
  });

async function sourceOf(table: string, key: string[], where?: string): Promise<KeyedSource & { oid: number }> {
  return withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
    const [described] = (await describeTables(client, [{ schema: 'public', table }])).values();
    const { columns, oid } = described!;
    const keyColumns = key.map((name) => columns.find((column) => column.name === name)!);
    return {
      layout: { format: 'binary', columns, key },
      table: `public.${quoteIdentifier(table)}`,
      keyOrders: keyOrdersOf(columns),
      keyColumns,
      where,
      oid,
    };
  });
}

async function cutWhole(source: KeyedSource): Promise<Chunk[]> {
  const chunks: Chunk[] = [];
  const onChunk = (...chunk: Parameters<typeof chunkOf>): void => void chunks.push(chunkOf(...chunk));
  await readChunks(client, { query: canonicalQuery(source), layout: source.layout, onChunk });
  return chunks;
}

function bordersOf({ layout }: KeyedSource, chunks: readonly Chunk[]): BorderKeys {
  const builder = new BorderKeysBuilder(keyFieldsOf(layout));
  for (const { lastKey } of chunks) builder.add(lastKey);
  return BorderKeys.decode(builder.build().encode());
}

/** The chunks after changes to rows with these keys, told from those before: with the rows of their ranges read, or only those that have changed. */
async function recut(
  source: KeyedSource,
  before: readonly Chunk[],
  keys: string[][],
  way: 'ranges' | 'rows' = 'ranges',
): Promise<{ chunks: Chunk[]; read: number }> {
  const borders = bordersOf(source, before);
  const located = await locateKeys(client, source, borders, keys);
  async function* readChunks(chunks: readonly number[]): AsyncGenerator<Buffer> {
    for (const at of chunks) yield await Promise.resolve(Buffer.from(before[at]!.bytes));
  }
  const chunkBytes = (at: number): number => before[at]!.bytes.length;
  const readRows = way === 'rows' ? spliceRows(client, { source, borders, keys: located, readChunks, chunkBytes }) : undefined;
  const runs = await cutRuns(client, runsOf(chunksOf(located, before.length)), { source, borders, readRows, onChunk: chunkOf });
  const chunks: Chunk[] = [];
  let at = 0;
  for (const run of runs) {
    chunks.push(...before.slice(at, run.first), ...run.chunks);
    at = run.end;
  }
  return { chunks: [...chunks, ...before.slice(at)], read: runs.reduce((sum, { first, end }) => sum + end - first, 0) };
}

const isSame = (one: readonly Chunk[], other: readonly Chunk[]): boolean =>
  one.length === other.length &&
  one.every(({ digest, rowCount, lastKey }, at) => {
    const twin = other[at]!;
    return digest === twin.digest && rowCount === twin.rowCount && lastKey.equals(twin.lastKey);
  });

/** A kind of key: SQL of its columns, and of its values from a number. Without an index in its order rows are only looked up. */
interface Kind {
  columns: string[];
  types: string[];
  values: string;
  where?: string;
  hasNoOrder?: true;
}

const KEYS: Record<string, Kind> = {
  bigint: { columns: ['id'], types: ['bigint'], values: 'g * 7919 - 3000000' },
  uuid: { columns: ['id'], types: ['uuid'], values: 'md5(g::text)::uuid' },
  text: { columns: ['id'], types: ['text COLLATE "C"'], values: "chr(65 + g % 60) || 'é' || g" },
  'numeric(20,5)': { columns: ['id'], types: ['numeric(20,5)'], values: '(g % 1000) * 1.00100 - g' },
  'a text and a number': {
    columns: ['Site', 'no'],
    types: ['varchar(40) COLLATE "C"', 'int'],
    values: "(ARRAY['b', 'A', '', 'ä \"x\"', 'a,b'])[1 + abs(g) % 5], g",
  },
  'a date and a boolean': { columns: ['at', 'flag'], types: ['date', 'boolean'], values: "date '2000-01-01' + g / 2, g % 2 = 0" },
  'a text by an ICU collation': {
    columns: ['id'],
    types: ['text COLLATE "de-x-icu"'],
    values: "(ARRAY['ä', 'A', 'a', 'Z', ' ', '-', 'ß', 'ss', 'é'])[1 + abs(g) % 9] || g % 100 || chr(65 + g % 60) || g",
    hasNoOrder: true,
  },
  'a padded text and a number, the second first': {
    columns: ['no', 'Site'],
    types: ['int', 'char(12) COLLATE "en-x-icu"'],
    values: "g % 700, (ARRAY['b', 'B', '', 'ä \"x\"', 'a,b', '-b', 'B b'])[1 + abs(g) % 7] || g",
    hasNoOrder: true,
  },
  'a uuid, of a scope': { columns: ['id'], types: ['uuid'], values: 'md5(g::text)::uuid', where: 'v % 3 <> 0 -- not all' },
};

const STEP = fc.record({
  updated: fc.array(fc.nat(5000), { maxLength: 6 }),
  deleted: fc.oneof(
    fc.array(fc.nat(5000), { maxLength: 6 }),
    fc.tuple(fc.nat(5000), fc.nat(900)).map(([from, count]) => Array.from({ length: count }, (_, at) => from + at)),
  ),
  inserted: fc.array(fc.integer({ min: -200, max: 5300 }), { maxLength: 8 }),
});

/** After any changes, the chunks of the ranges that they lie in make the tree that reading all of it makes. */
async function expectSameTrees({ columns, types, values, where, hasNoOrder }: Kind, numRuns: number): Promise<void> {
  const names = columns.map(quoteIdentifier).join(', ');
  const primaryKey = (hasNoOrder ? columns.toReversed() : columns).map(quoteIdentifier).join(', ');
  await client.query(`
    DROP TABLE IF EXISTS things;
    CREATE TABLE things (g int, ${columns.map((name, at) => `${quoteIdentifier(name)} ${types[at]!}`).join(', ')}, v int, note text, PRIMARY KEY (${primaryKey}));
    CREATE INDEX ON things (g)`);
  const insert = `INSERT INTO things (g, ${names}, v, note) SELECT g, ${values}, g, repeat('x', g % 50) FROM`;
  await client.query(`${insert} generate_series(1, 5000) g`);
  await client.query('ANALYZE things');
  const source = await sourceOf('things', columns, where);
  expect(await findKeyObstacle(client, source)).toBeUndefined();
  expect(await hasOrderedIndex(client, source, source.oid)).toBe(!hasNoOrder);
  let before = await inSnapshot(() => cutWhole(source));
  let version = 0;
  await fc.assert(
    fc.asyncProperty(STEP, async ({ updated, deleted, inserted }) => {
      version += 1;
      const { rows } = await client.query<{ keys: string[] }>({
        text: `
          WITH u AS (UPDATE things SET v = v + 1, note = '${version}' WHERE g = ANY($1) AND NOT g = ANY($2) RETURNING ${names}),
          d AS (DELETE FROM things WHERE g = ANY($2) RETURNING ${names}),
          i AS (${insert} unnest($3::int[]) g WHERE NOT EXISTS (SELECT FROM things t WHERE t.g = unnest.g) ON CONFLICT DO NOTHING RETURNING ${names})
          SELECT ARRAY[${columns.map((name) => `${quoteIdentifier(name)}::text`).join(', ')}] AS keys FROM (TABLE u UNION ALL TABLE d UNION ALL TABLE i) AS changed`.replaceAll(
          'unnest.g',
          'g.g',
        ),
        values: [updated, deleted, [...new Set(inserted)]],
      });
      const keys = columns.map((_, at) => rows.map((row) => row.keys[at]!));
      const [whole, ranges, spliced] = await inSnapshot(
        async () => [await cutWhole(source), await recut(source, before, keys), await recut(source, before, keys, 'rows')] as const,
      );
      expect({ ranges: isSame(ranges.chunks, whole), rows: isSame(spliced.chunks, whole) }).toEqual({ ranges: true, rows: true });
      before = whole;
    }),
    { numRuns, endOnFailure: true },
  );
}

test.each(Object.entries(KEYS))(
  'a table with the key %s: after any changes, the chunks of the ranges that they lie in make the tree that reading all of it makes',
  async (_, kind) => expectSameTrees(kind, 60),
);

test('in a database of another encoding', async () => {
  const other = await server.createDatabase('koi8r', "ENCODING 'KOI8R' LOCALE 'C'");
  await client.end();
  client = new pg.Client({ connectionString: other.url });
  await client.connect();
  const values = "(ARRAY['ж', 'Ж', 'a', 'я', ' ', 'ю', 'Б'])[1 + abs(g) % 7] || g % 100 || 'ё' || g";
  await expectSameTrees({ columns: ['id'], types: ['text'], values, hasNoOrder: true }, 20);
});

test('one changed row in a large table costs its chunk', async () => {
  await client.query(
    'CREATE TABLE many (id bigint PRIMARY KEY, v int); INSERT INTO many SELECT g, g FROM generate_series(1, 100000) g; ANALYZE many',
  );
  const source = await sourceOf('many', ['id']);
  const before = await inSnapshot(() => cutWhole(source));
  await client.query('UPDATE many SET v = 0 WHERE id = 50000');
  const [whole, { chunks, read }] = await inSnapshot(
    async () => [await cutWhole(source), await recut(source, before, [['50000']])] as const,
  );
  expect(isSame(chunks, whole)).toBe(true);
  expect(read).toBeLessThanOrEqual(2);
});

test('few keys among many borders lie where comparing them with all borders says', async () => {
  await client.query(
    'CREATE TABLE sparse (id bigint PRIMARY KEY); INSERT INTO sparse SELECT g * 3 FROM generate_series(1, 120000) g; ANALYZE sparse',
  );
  const source = await sourceOf('sparse', ['id']);
  const chunks = await inSnapshot(() => cutWhole(source));
  const borders = bordersOf(source, chunks);
  const all = { borders, chunks: chunks.map((_, at) => at) };
  const key = fc.oneof(
    fc.integer({ min: -5, max: 360_005 }),
    fc
      .tuple(fc.nat(chunks.length - 1), fc.integer({ min: -1, max: 1 }))
      .map(([at, more]) => Number(chunks[at]!.lastKey.readBigInt64BE(4)) + more),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(key, { minLength: 1, maxLength: 3 }), async (keys) => {
      const text = [keys.map(String)];
      const [few, whole] = await inSnapshot(
        async () => [await locateKeys(client, source, borders, text), await locateAmong(client, source, all, text)] as const,
      );
      expect(few).toEqual(whole);
    }),
    { numRuns: 100 },
  );
});

test('borders that lengths make: a row that grows moves them, up to the next one that a key makes', async () => {
  await client.query(
    'CREATE TABLE wide (id int PRIMARY KEY, v text); ALTER TABLE wide ALTER v SET STORAGE PLAIN, ALTER v SET STORAGE EXTERNAL',
  );
  await client.query("INSERT INTO wide SELECT g, repeat('y', 300000) FROM generate_series(1, 60) g");
  const source = await sourceOf('wide', ['id']);
  let before = await inSnapshot(() => cutWhole(source));
  for (const [sql, key] of [
    ["UPDATE wide SET v = repeat('z', 900000) WHERE id = 3", '3'],
    ['DELETE FROM wide WHERE id = 20', '20'],
    ["INSERT INTO wide VALUES (0, repeat('a', 1048576))", '0'],
  ] as const) {
    await client.query(sql);
    for (const way of ['ranges', 'rows'] as const) {
      const [whole, { chunks }] = await inSnapshot(
        async () => [await cutWhole(source), await recut(source, before, [[key]], way)] as const,
      );
      expect(isSame(chunks, whole)).toBe(true);
    }
    const whole = await inSnapshot(() => cutWhole(source));
    before = whole;
  }
});

test.each([
  ['CREATE TABLE t (id text PRIMARY KEY, v int)', ['id'], 'no index has the order of its key'],
  ['CREATE TABLE t (id text COLLATE "C" PRIMARY KEY, v int)', ['id'], undefined],
  ['CREATE TABLE t (id text PRIMARY KEY, v int); CREATE INDEX ON t (id COLLATE "C")', ['id'], undefined],
  ['CREATE TABLE t (a int, b int, PRIMARY KEY (a, b))', ['a', 'b'], undefined],
  ['CREATE TABLE t (a int, b int, PRIMARY KEY (a, b))', ['b', 'a'], 'no index has the order of its key'],
  ['CREATE TABLE t (id int, v int); CREATE UNIQUE INDEX ON t (id DESC)', ['id'], 'no index has the order of its key'],
  ['CREATE TABLE t (id int, v int); CREATE UNIQUE INDEX ON t (id) WHERE v > 0', ['id'], 'no index has the order of its key'],
  ['CREATE TABLE t (id int[] PRIMARY KEY, v int)', ['id'], 'the key column id is an array'],
  [
    'CREATE DOMAIN small AS int CHECK (VALUE < 9); CREATE TABLE t (id small PRIMARY KEY, v int)',
    ['id'],
    'the key column id is of a domain',
  ],
])('%s, with the key %s: ranges %s', async (sql, key, obstacle) => {
  await client.query(`DROP TABLE IF EXISTS t; ${sql}`);
  const source = await sourceOf('t', key);
  expect(await findRangeObstacle(client, source, source.oid)).toBe(obstacle);
});

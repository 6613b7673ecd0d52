import { quoteTable, sha256, type TableIdentifier } from '@waypost/contracts';
import { createHash } from 'node:crypto';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { type CatalogTable, describeTables, typesOf } from './catalog.js';
import { canonicalQuery, keyOrdersOf, readChunks } from './copy-rows.js';
import { pinSession } from './session-settings.js';
import { withTransaction } from './transaction.js';
import { TypeCatalog } from './type-catalog.js';

let server: TestServer;
let client: pg.Client;

beforeAll(async () => {
  server = await startTestServer();
  client = new pg.Client({ connectionString: (await server.createDatabase('rows')).url });
  await client.connect();
  await client.query(`
    CREATE TYPE mood AS ENUM ('good', 'so "so"', 'bad');
    CREATE TYPE point3 AS (x int, y int, z int);
    CREATE TYPE span AS RANGE (subtype = float8);
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN moods AS mood[]`);
});

afterAll(async () => {
  await client?.end();
  await server?.[Symbol.asyncDispose]();
});

async function describe1(table: TableIdentifier, from = client): Promise<{ table: CatalogTable; types: TypeCatalog }> {
  const found = (await describeTables(from, [table])).get(quoteTable(table)) as CatalogTable;
  return { table: found, types: await TypeCatalog.read(from, typesOf([found])) };
}

/** In a transaction that leaves nothing behind. */
async function trying<T>(sql: string, work: () => Promise<T>): Promise<T> {
  await client.query('BEGIN');
  try {
    await client.query(sql);
    return await work();
  } finally {
    await client.query('ROLLBACK');
  }
}

test.each([
  ['binary', 'int'],
  ['binary', 'numeric(9, 2)'],
  ['binary', 'text[]'],
  ['binary', 'timestamptz[][]'],
  ['binary', 'jsonb'],
  ['binary', 'int4range'],
  ['binary', 'tstzmultirange'],
  ['binary', 'mood'],
  ['binary', 'positive'],
  ['binary', 'oid'],
  ['binary', 'macaddr'],
  ['binary', 'tsvector'],
  ['binary', 'name'],
  ['text', 'mood[]'],
  ['text', 'moods'],
  ['text', 'positive[]'],
  ['text', 'point3'],
  ['text', 'point3[]'],
  ['text', 'span'],
  ['text', 'span[]'],
  ['text', 'regclass'],
  ['text', 'regtype[]'],
])('%s is the format of a table with a column of type %s', async (format, type) => {
  await trying(`CREATE TABLE formats (id int PRIMARY KEY, v ${type})`, async () => {
    const { table, types } = await describe1({ schema: 'public', table: 'formats' });
    expect(types.formatFor(typesOf([table]))).toBe(format);
  });
});

test('user-defined types are found wherever they are part of a column’s type, parts first', async () => {
  await trying('CREATE TYPE b AS ENUM (); CREATE TABLE enums (id int PRIMARY KEY, a moods, b b)', async () => {
    const { table, types } = await describe1({ schema: 'public', table: 'enums' });
    expect(types.userTypes(typesOf([table]))).toEqual([
      { name: 'public.mood', kind: 'enum', labels: ['good', 'so "so"', 'bad'] },
      { name: 'public.moods', kind: 'domain', base: 'public.mood[]' },
      { name: 'public.b', kind: 'enum', labels: [] },
    ]);
  });
});

test('a table is described as it stands: dropped columns left out, generated ones marked, the key in its own order', async () => {
  const sql = `
    CREATE SCHEMA "Odd Schema";
    CREATE UNLOGGED TABLE "Odd Schema"."Sel""ect" (gone int, b text NOT NULL, "Full Name" varchar(7), a int GENERATED ALWAYS AS IDENTITY,
      g int GENERATED ALWAYS AS (length(b)) STORED, extra int, PRIMARY KEY (b, a) INCLUDE (extra));
    ALTER TABLE "Odd Schema"."Sel""ect" DROP COLUMN gone; ALTER TABLE "Odd Schema"."Sel""ect" ENABLE ROW LEVEL SECURITY`;
  await trying(sql, async () => {
    const { table } = await describe1({ schema: 'Odd Schema', table: 'Sel"ect' });
    expect(table).toMatchObject({ kind: 'table', persistence: 'unlogged', rowSecurity: true, primaryKey: ['b', 'a'] });
    expect(table.columns.map(({ name, type, notNull, generated, collatable }) => [name, type, notNull, generated, collatable])).toEqual([
      ['b', 'text', true, false, true],
      ['Full Name', 'character varying(7)', false, false, true],
      ['a', 'integer', true, false, false],
      ['g', 'integer', false, true, false],
      ['extra', 'integer', false, false, false],
    ]);
  });
});

test.each([
  ['CREATE VIEW v AS SELECT 1 AS id', 'view'],
  ['CREATE MATERIALIZED VIEW v AS SELECT 1 AS id', 'materialized view'],
  ['CREATE TABLE v (id int PRIMARY KEY) PARTITION BY RANGE (id)', 'partitioned'],
])('%s makes a %s', async (sql, kind) => {
  await trying(sql, async () => expect((await describe1({ schema: 'public', table: 'v' })).table.kind).toBe(kind));
});

test('indexes, sequences and what does not exist are no tables', async () => {
  await trying('CREATE TABLE t (id serial PRIMARY KEY)', async () => {
    const names = ['t_pkey', 't_id_seq', 'T', 'nothing'].map((table) => ({ schema: 'public', table }));
    expect([...(await describeTables(client, names)).keys()]).toEqual([]);
  });
});

/** The canonical rows of a table that fits one chunk or more, and the hash that names them. */
async function canonicalRows(name: string, from = client): Promise<{ rows: Buffer; sha256: string }> {
  return withTransaction(from, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
    const { table, types } = await describe1({ schema: 'public', table: name }, from);
    await pinSession(from);
    const layout = { format: types.formatFor(typesOf([table])), columns: table.columns, key: table.primaryKey };
    const chunks: Buffer[] = [];
    const hasher = createHash('sha256');
    await readChunks(from, {
      query: canonicalQuery({ layout, table: quoteTable(table), keyOrders: keyOrdersOf(table.columns) }),
      layout,
      onChunk: (bytes) => {
        chunks.push(Buffer.from(bytes));
        hasher.update(sha256(bytes));
      },
    });
    return { rows: Buffer.concat(chunks), sha256: hasher.digest('hex') };
  });
}

test('a table’s hash is what SQL alone makes of its rows', async () => {
  const field = (value: string, send: string) => `coalesce(int4send(length(${send}(${value}))) || ${send}(${value}), int4send(-1))`;
  const row = [
    field('id', 'int4send'),
    field('name', 'textsend'),
    field('price', 'numeric_send'),
    field('at', 'timestamptz_send'),
    field('doc', 'jsonb_send'),
    field('mood', 'enum_send'),
  ];
  await client.query(`
    CREATE TABLE proof (id int PRIMARY KEY, name text, price numeric, at timestamptz, doc jsonb, mood mood);
    INSERT INTO proof VALUES (7, 'é "q" 😀', 1.50, '2026-01-02 03:04:05.678901+02', '{"b": [1, 2.0], "a": null}', 'bad'), (-3, '', 'NaN', 'infinity', NULL, NULL), (2, NULL, 1e40, NULL, '"x"', 'good')`);
  const {
    rows: [expected],
  } = await client.query<{ rows: Buffer; sha256: string }>(`
    WITH canonical AS (SELECT string_agg(int2send(6::int2) || ${row.join(' || ')}, '' ORDER BY id) AS rows FROM proof)
    SELECT rows, encode(sha256(sha256(rows)), 'hex') AS sha256 FROM canonical`);
  const actual = await canonicalRows('proof');
  expect(actual.rows.toString('hex')).toBe(expected?.rows.toString('hex'));
  expect(actual.sha256).toBe(expected?.sha256);
});

test('the session’s settings do not change the bytes of text rows', async () => {
  await client.query(`CREATE TABLE settings (id int PRIMARY KEY, moods mood[], at timestamptz, pause interval, half float8, bytes bytea);
    INSERT INTO settings VALUES (1, '{good}', '2026-01-02 03:04:05+02', '1 day 2 hours', 0.1::float8 + 0.2, '\\xff')`);
  const plain = await canonicalRows('settings');
  expect(plain.rows.toString()).toBe('1\t{good}\t2026-01-02 01:04:05+00\t1 day 02:00:00\t0.30000000000000004\t\\\\xff\n');
  await client.query(
    `SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'; SET IntervalStyle = 'iso_8601'; SET extra_float_digits = -5; SET bytea_output = 'escape'; SET search_path = ''`,
  );
  expect(await canonicalRows('settings')).toEqual(plain);
  await client.query('RESET ALL');
});

test.each(['en-US-x-icu', 'und-x-icu'])(
  'text keys come in the order of their bytes, also where the column sorts by %s',
  async (collation) => {
    const known = await client.query('SELECT FROM pg_collation WHERE collname = $1', [collation]);
    expect(known.rowCount).toBe(1);
    const keys = ['a', 'B', 'b', 'A', 'é', 'z', 'Z', '_', '10', '9', 'ä', '😀', ' a'];
    await client.query(`DROP TABLE IF EXISTS keys; CREATE TABLE keys (k text COLLATE "${collation}" PRIMARY KEY)`);
    await client.query('INSERT INTO keys SELECT unnest($1::text[])', [keys]);
    const { rows } = await canonicalRows('keys');
    const byBytes = keys.map((key) => Buffer.from(key)).sort(Buffer.compare);
    const expected = byBytes.map((key) => `0001${key.length.toString(16).padStart(8, '0')}${key.toString('hex')}`).join('');
    expect(rows.toString('hex')).toBe(expected);
  },
);

describe('keys of types that hold object ids', () => {
  const others: pg.Client[] = [];

  /** The same objects, made in another order: their object ids sort the other way round. */
  beforeAll(async () => {
    for (const names of [
      ['alpha', 'beta', 'gamma'],
      ['gamma', 'beta', 'alpha'],
    ]) {
      const other = new pg.Client({ connectionString: (await server.createDatabase('oids')).url });
      await other.connect();
      others.push(other);
      for (const name of names) {
        await other.query(`
          CREATE SCHEMA ${name}_schema; CREATE TABLE ${name}_table (); CREATE TYPE ${name}_type AS ENUM ();
          CREATE FUNCTION ${name}_function(a int, b int) RETURNS int LANGUAGE sql AS 'SELECT 1';
          CREATE OPERATOR ${{ alpha: '<#', beta: '<##', gamma: '<###' }[name as 'alpha']} (leftarg = int, rightarg = int, function = ${name}_function);
          CREATE COLLATION ${name}_collation FROM "C";
          CREATE TEXT SEARCH CONFIGURATION ${name}_config (copy = pg_catalog.simple);
          CREATE TEXT SEARCH DICTIONARY ${name}_dictionary (template = pg_catalog.simple)`);
      }
      await other.query(`
        CREATE TYPE with_table AS (n int, t regclass);
        CREATE DOMAIN tables AS regclass`);
    }
  });

  afterAll(async () => {
    for (const other of others) await other.end();
  });

  const named = (suffix: string) => ['alpha', 'beta', 'gamma'].map((name) => `${name}_${suffix}`);

  test.each([
    ['regclass', named('table')],
    ['regtype', named('type')],
    ['regproc', named('function')],
    ['regprocedure', named('function(int,int)')],
    ['regoper', ['<#', '<##', '<###']],
    ['regoperator', ['<#(int,int)', '<##(int,int)', '<###(int,int)']],
    ['regnamespace', named('schema')],
    ['regcollation', named('collation')],
    ['regconfig', named('config')],
    ['regdictionary', named('dictionary')],
    ['regclass[]', named('table').map((name) => `{${name}}`)],
    ['tables', named('table')],
    ['with_table', named('table').map((name) => `(1,${name})`)],
  ])('%s: every database gives the rows in the same order', async (type, keys) => {
    const found: string[] = [];
    for (const other of others) {
      await other.query(`CREATE TABLE keyed (k ${type} PRIMARY KEY)`);
      await other.query(`INSERT INTO keyed SELECT unnest($1::text[])::${type}`, [keys]);
      found.push((await canonicalRows('keyed', other)).rows.toString());
      await other.query('DROP TABLE keyed');
    }
    expect(found[1]).toBe(found[0]);
    expect(found[0]?.split('\n')).toHaveLength(keys.length + 1);
  });

  // Roles belong to the whole server: no second database has them in another order.
  test('regrole is ordered by its text; oid is a number, ordered as such', async () => {
    await trying('CREATE TABLE numbers (role regrole, id oid, ids oidvector)', async () => {
      const { table } = await describe1({ schema: 'public', table: 'numbers' });
      expect(table.columns.map(({ keyOrder }) => keyOrder)).toEqual(['text', 'type', 'type']);
    });
  });
});

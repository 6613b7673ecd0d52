import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import type { Edge } from '../../testing/edge.js';
import type { FakeCentral } from '../../testing/fake-central.js';
import { type FakePair, startFakePair } from '../../testing/fake-pair.js';
import { proveMirror } from './prove-mirror.js';

const CREATE = `
  CREATE TYPE mood AS ENUM ('fine', 'bad');
  CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL, mood mood);
  INSERT INTO users SELECT g, 'user ' || g, 'fine' FROM generate_series(1, 900) g`;
const OWN = `
  CREATE TABLE pins (id int PRIMARY KEY, user_id int);
  INSERT INTO pins VALUES (1, 7)`;
const REFERENCE = 'ALTER TABLE pins ADD CONSTRAINT pins_fk FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE';
const ANOTHER =
  "DROP TABLE users CASCADE; CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL, mood mood); INSERT INTO users VALUES (1, 'mine')";

let server: TestServer;
let central: FakeCentral;
let edge: Edge;
let pair: FakePair;

beforeAll(async () => {
  server = await startTestServer();
});
beforeEach(async () => {
  pair = await startFakePair({ server, source: CREATE, tables: ['users'], local: OWN });
  ({ central, edge } = pair);
  await edge.sync();
});
afterEach(() => pair?.[Symbol.asyncDispose]());
afterAll(() => server?.[Symbol.asyncDispose]());

/** Of a table that has what a description says something of. */
const TABLE = `
  CREATE SCHEMA s; CREATE SCHEMA u; CREATE TYPE s.mood AS ENUM ('fine', 'bad'); CREATE DOMAIN s.code AS text; CREATE TYPE s.pair AS (a int, b s.code);
  CREATE TYPE s.span AS RANGE (subtype = int); CREATE COLLATION s.coll FROM "C";
  CREATE TABLE s.parent (id int PRIMARY KEY, email text COLLATE s.coll NOT NULL, mood s.mood, pairs s.pair[], span s.span, other int);
  CREATE TABLE s.child (id int PRIMARY KEY, parent_id int CONSTRAINT fk REFERENCES s.parent);
  CREATE TABLE s.heir () INHERITS (s.parent);
  CREATE TABLE s.forest (id int) PARTITION BY LIST (id)`;

test('whatever a description is made of has a part in its proof', async () => {
  const client = new pg.Client({ connectionString: edge.databaseUrl });
  await client.connect();
  try {
    const type = { kind: 'enum', name: 's.later', labels: ['a'] } as const;
    const shape = { tables: [{ name: 's.parent' }], types: [type] } as unknown as Parameters<typeof proveMirror>[1];
    const fingerprint = async (): Promise<string> => (await proveMirror(client, shape, 'compare')).fingerprint;
    const alters = async (sql: string): Promise<boolean> => {
      await client.query('BEGIN');
      const before = await fingerprint();
      await client.query(sql);
      const isAltered = (await fingerprint()) !== before;
      await client.query('ROLLBACK');
      return isAltered;
    };
    await client.query(TABLE);
    const missed: string[] = [];
    for (const sql of ALTERATIONS) if (!(await alters(sql))) missed.push(sql);
    expect(missed).toEqual([]);
    for (const sql of OTHERS) expect([sql, await alters(sql)]).toEqual([sql, false]);
  } finally {
    await client.end();
  }
});

const ALTERATIONS = [
  'ALTER TABLE s.parent ADD extra int',
  'ALTER TABLE s.parent DROP other',
  'ALTER TABLE s.parent RENAME other TO another',
  'ALTER TABLE s.parent ALTER other TYPE bigint',
  'ALTER TABLE s.parent ALTER other SET NOT NULL',
  'ALTER TABLE s.parent ALTER email TYPE text COLLATE "C"',
  'ALTER TABLE s.parent RENAME TO gone',
  'ALTER TABLE s.parent SET SCHEMA u',
  'ALTER SCHEMA s RENAME TO gone',
  'ALTER TABLE s.heir NO INHERIT s.parent; ALTER TABLE s.child DROP CONSTRAINT fk; ALTER TABLE s.parent SET UNLOGGED',
  'ALTER TABLE s.parent ENABLE ROW LEVEL SECURITY',
  'ALTER TABLE s.child DROP CONSTRAINT fk; ALTER TABLE s.parent DROP CONSTRAINT parent_pkey',
  'CREATE UNIQUE INDEX ON s.parent (email)',
  'DROP TABLE s.heir; DROP TABLE s.child; DROP TABLE s.parent; CREATE TABLE s.parent (id int PRIMARY KEY)',
  'DROP TABLE s.parent CASCADE; CREATE VIEW s.parent AS SELECT 1 AS id',
  "ALTER TYPE s.mood RENAME VALUE 'bad' TO 'good'",
  "ALTER TYPE s.mood ADD VALUE 'good'",
  'ALTER TYPE s.mood RENAME TO temper',
  'ALTER TYPE s.mood SET SCHEMA u',
  'ALTER TYPE s.pair RENAME ATTRIBUTE a TO c',
  'ALTER DOMAIN s.code RENAME TO codes',
  'ALTER TYPE s.span RENAME TO spans',
  'ALTER COLLATION s.coll RENAME TO other',
  "CREATE TYPE s.later AS ENUM ('a')",
  'ALTER TABLE s.heir NO INHERIT s.parent',
  'CREATE TABLE s.second () INHERITS (s.parent)',
  'CREATE TABLE s.grandchild () INHERITS (s.heir)',
  'ALTER TABLE s.heir SET UNLOGGED',
  'ALTER TABLE s.heir RENAME TO heirs',
  'ALTER TABLE s.child DROP CONSTRAINT fk',
  'ALTER TABLE s.child RENAME CONSTRAINT fk TO other',
  'ALTER TABLE s.child RENAME TO children',
  'ALTER TABLE s.child RENAME parent_id TO parent',
  'ALTER TABLE s.child SET SCHEMA u',
  'ALTER TABLE s.child DROP CONSTRAINT fk; ALTER TABLE s.child ADD CONSTRAINT fk FOREIGN KEY (parent_id) REFERENCES s.parent ON DELETE CASCADE',
  'CREATE TABLE s.more (parent_id int REFERENCES s.parent)',
  'ALTER TABLE s.child DROP CONSTRAINT child_pkey, ALTER id DROP NOT NULL; ALTER TABLE s.child DROP parent_id; ALTER TABLE s.child ADD parent_id int REFERENCES s.parent',
  "INSERT INTO waypost.edge_owned_tables (relation, table_oid, database, how) VALUES ('\"s\".\"parent\"', 's.parent'::regclass, 'x', 'adopted')",
];
/** What no description says anything of. */
const OTHERS = [
  "INSERT INTO s.parent VALUES (1, 'a')",
  'ANALYZE s.parent',
  'CREATE TABLE s.unrelated (id int PRIMARY KEY)',
  'ALTER TABLE s.forest ADD extra int',
  "INSERT INTO waypost.edge_owned_tables (relation, table_oid, database, how) VALUES ('\"s\".\"other\"', 's.child'::regclass, 'x', 'adopted')",
];

const KINDS: [string, { first?: string; alter: string; change?: string; expected: object }][] = [
  ['an added column', { alter: 'ALTER TABLE users ADD extra int', expected: { code: 'SCHEMA_MISMATCH' } }],
  ['a label of an enum', { alter: "ALTER TYPE mood RENAME VALUE 'bad' TO 'good'", expected: { code: 'SCHEMA_MISMATCH' } }],
  ['a table of the device in its place', { alter: ANOTHER, expected: { code: 'TABLE_NOT_OURS' } }],
  ['a foreign key', { alter: REFERENCE, expected: { code: 'LOCAL_REFERENCE', detail: /by .*pins/ } }],
  [
    'a foreign key’s table',
    { first: REFERENCE, alter: 'ALTER TABLE pins RENAME TO marks', expected: { code: 'LOCAL_REFERENCE', detail: /by .*marks/ } },
  ],
  [
    'a foreign key’s column',
    { first: REFERENCE, alter: 'ALTER TABLE pins RENAME user_id TO of', expected: { code: 'LOCAL_REFERENCE', detail: /by .*pins/ } },
  ],
  [
    'a foreign key that is gone',
    { first: REFERENCE, alter: 'ALTER TABLE pins DROP CONSTRAINT pins_fk', expected: { status: 'Success', rows: 1 } },
  ],
];

describe.each([
  ['before a cycle', '/request'],
  ['while a cycle downloads', '/delta'],
])('altered %s', (_, path) => {
  test.each(KINDS)('%s is seen', async (__, { first, alter, expected }) => {
    if (first !== undefined) await edge.query(first);
    // The mirror is described, and remembered.
    await edge.sync();
    await central.change('DELETE FROM users WHERE id = 7');
    let isAltered = false;
    central.onRequest = async (asked) => {
      if (isAltered || !asked.includes(path)) return;
      isAltered = true;
      await edge.query(alter);
    };
    const { code, status, detail } = await edge.sync();
    expect(isAltered).toBe(true);
    const { detail: wanted, rows, ...rest } = expected as { detail?: RegExp; rows?: number };
    expect({ code, status, detail }).toMatchObject({ ...rest, ...(wanted && { detail: expect.stringMatching(wanted) as string }) });
    expect(await edge.query("SELECT FROM information_schema.tables WHERE table_name IN ('pins', 'marks')")).toHaveLength(1);
    const own = (await edge.query("SELECT to_regclass('marks') IS NOT NULL AS renamed"))[0] as { renamed: boolean };
    expect(await edge.query(`SELECT FROM ${own.renamed ? 'marks' : 'pins'}`)).toHaveLength(rows ?? 1);
  });
});

import fc from 'fast-check';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { Edge, queryAt } from '../../testing/edge.js';
import type { FakeCentral } from '../../testing/fake-central.js';
import { type FakePair, startFakePair } from '../../testing/fake-pair.js';

const TABLES = ['companies', 'users', 'areas'];
const CREATE = `
  CREATE TABLE companies (id int PRIMARY KEY, name text NOT NULL, boss int);
  CREATE TABLE users (id int PRIMARY KEY, company_id int NOT NULL, rank int NOT NULL, email text);
  CREATE TABLE areas (code numeric PRIMARY KEY, size float8);
  INSERT INTO companies SELECT g, 'c' || g, g * 10 FROM generate_series(1, 5) g;
  INSERT INTO users SELECT g, 1 + g % 5, g, 'u' || g FROM generate_series(1, 600) g;
  INSERT INTO areas SELECT g, g FROM generate_series(1, 5) g;`;

let server: TestServer;
let source: string;
let central: FakeCentral;
let edge: Edge;
let pair: FakePair;
let deltas = false;

beforeAll(async () => {
  server = await startTestServer();
});
beforeEach(async () => {
  pair = await startFakePair({ server, source: CREATE, tables: TABLES });
  ({ source, central, edge } = pair);
  central.deltas = deltas;
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
});
afterEach(() => pair?.[Symbol.asyncDispose]());
afterAll(() => server?.[Symbol.asyncDispose]());

async function rowsOf(url: string, table: string): Promise<unknown[]> {
  return queryAt(url, `SELECT t::text AS row FROM ${table} AS t ORDER BY 1`);
}

async function expectEqual(): Promise<void> {
  for (const table of TABLES) expect(await rowsOf(edge.databaseUrl, table)).toEqual(await rowsOf(source, table));
}

async function syncs(): Promise<void> {
  const answer = await edge.sync();
  expect(answer).toMatchObject({ httpStatus: 200, status: 'Success', ack: 'sent' });
  expect((answer.tables as { reason?: string }[]).filter(({ reason }) => reason?.startsWith('its delta could not'))).toEqual([]);
  await expectEqual();
}

describe.each([
  ['whole tables', false],
  ['deltas', true],
])('by %s', (_, withDeltas) => {
  beforeAll(() => {
    deltas = withDeltas;
  });

  test('only rows that differ are written', async () => {
    const places = () => edge.query<{ id: number; place: string }>('SELECT id, ctid::text AS place FROM users ORDER BY id');
    const before = await places();
    await central.change(
      "DELETE FROM users WHERE id = 7; UPDATE users SET email = 'new' WHERE id = 8; INSERT INTO users VALUES (601, 1, 601, NULL)",
    );
    await syncs();
    const after = new Map((await places()).map(({ id, place }) => [id, place]));
    expect(before.filter(({ id, place }) => after.get(id) !== place).map(({ id }) => id)).toEqual([7, 8]);
    expect(after.size).toBe(600);
  });

  test('values that are equal and yet not the same bytes are told apart', async () => {
    await central.change("UPDATE areas SET code = '1.00' WHERE code = 1; UPDATE areas SET size = '-0' WHERE code = 2");
    await central.change('UPDATE areas SET size = 0 WHERE code = 3');
    await syncs();
    await central.change("UPDATE areas SET size = '-0' WHERE code = 3; UPDATE areas SET code = '1' WHERE code = 1");
    await syncs();
    expect(await edge.query("SELECT FROM areas WHERE code::text = '1' OR size::text = '-0'")).toHaveLength(3);
  });

  test('any change is merged: a model of inserts, updates, deletes, key changes and swaps', async () => {
    for (const url of [source, edge.databaseUrl]) await queryAt(url, 'CREATE UNIQUE INDEX ON users (rank)');
    const id = fc.integer({ min: 1, max: 40 });
    const operation = fc.oneof(
      id.map((n) => `DELETE FROM users WHERE id = ${n}`),
      id.map((n) => `UPDATE users SET email = 'e' || id || ${n} WHERE id % 7 = ${n % 7}`),
      id.map((n) => `UPDATE users SET id = id + 10000 * ${n} WHERE id = ${n}`),
      fc.tuple(id, id).map(
        ([
          a,
          b,
        ]) => `UPDATE users SET rank = -(SELECT o.rank FROM users o WHERE o.id = ${a} + ${b} - users.id) WHERE id IN (${a}, ${b}) AND ${a} <> ${b}
      AND (SELECT count(*) FROM users o WHERE o.id IN (${a}, ${b})) = 2; UPDATE users SET rank = -rank WHERE rank < 0`,
      ),
      id.map(
        (n) =>
          `INSERT INTO users SELECT ${n}, 1, 1000000 + ${n}, 'again' WHERE NOT EXISTS (SELECT FROM users WHERE id = ${n} OR rank = 1000000 + ${n})`,
      ),
      fc.constant('UPDATE users SET id = -id; UPDATE users SET id = 1 - id'),
      fc.constant('TRUNCATE users'),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { minLength: 1, maxLength: 8 }), async (operations) => {
        await central.change(operations.join(';\n'));
        expect(await edge.sync()).toMatchObject({ httpStatus: 200 });
        await expectEqual();
      }),
      { numRuns: 25, seed: 20_261_121 },
    );
  });

  test('two rows that swap values of a unique column', async () => {
    await edge.query('ALTER TABLE users ADD UNIQUE (rank)');
    await central.change('UPDATE users SET rank = CASE id WHEN 1 THEN 2 WHEN 2 THEN 1 ELSE rank END WHERE id < 3');
    await syncs();
  });

  test('rows of mirrored tables that reference each other in a circle change together', async () => {
    await edge.query(`
    ALTER TABLE users ADD FOREIGN KEY (company_id) REFERENCES companies;
    ALTER TABLE companies ADD FOREIGN KEY (boss) REFERENCES users;`);
    await central.change(`
    INSERT INTO companies VALUES (6, 'c6', 700); INSERT INTO users VALUES (700, 6, 700, 'boss');
    UPDATE users SET company_id = 6 WHERE company_id = 2; UPDATE companies SET boss = 700; DELETE FROM companies WHERE id = 2`);
    await syncs();
    await central.change('DELETE FROM users WHERE id <> 700; DELETE FROM companies WHERE id <> 6');
    await syncs();
    await central.change('TRUNCATE users, companies');
    await syncs();
  });

  test('the first sync into existing tables with foreign keys, parents behind children', async () => {
    await edge.query(`
    DELETE FROM users; DELETE FROM companies;
    ALTER TABLE companies ADD FOREIGN KEY (boss) REFERENCES users;
    ALTER TABLE areas ADD COLUMN doubled float8 GENERATED ALWAYS AS (size * 2) STORED;`);
    expect(await edge.sync({ verify: true })).toMatchObject({ status: 'Success' });
    await expect(rowsOf(edge.databaseUrl, 'companies')).resolves.toEqual(await rowsOf(source, 'companies'));
    await expect(rowsOf(edge.databaseUrl, 'users')).resolves.toEqual(await rowsOf(source, 'users'));
  });

  test('identity columns, text keys of other collations, partitions, drift, rows that came in twice', async () => {
    await edge.query(`
    DROP TABLE companies, users, areas;
    CREATE TABLE companies (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, boss int GENERATED BY DEFAULT AS IDENTITY);
    CREATE TABLE users (id int, company_id int NOT NULL, rank int NOT NULL, email text, PRIMARY KEY (id)) PARTITION BY HASH (id);
    CREATE TABLE users_0 PARTITION OF users FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE users_1 PARTITION OF users FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE TABLE areas (code numeric, size float8);
    INSERT INTO areas VALUES (1, 1), (1, 1), (1.0, 2), (NULL, 3), (77, 0);
    INSERT INTO companies OVERRIDING SYSTEM VALUE VALUES (1, 'other', 1), (99, 'left', 1);
    INSERT INTO users VALUES (1, 1, 1, 'x');
    UPDATE waypost.edge_owned_tables SET table_oid = to_regclass(relation), how = 'adopted';`);
    await syncs();
    await central.change("UPDATE companies SET name = name || '!'; UPDATE users SET id = id + 1000; DELETE FROM areas WHERE code > 2");
    await syncs();
  });

  test('an edge of its own keys keeps every row through every sync, whatever ON DELETE says', async () => {
    await edge.query(`
    CREATE TABLE readings (id int PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE, company int REFERENCES companies ON DELETE SET NULL);
    INSERT INTO readings SELECT g, g, 1 + g % 5 FROM generate_series(1, 100) g;`);
    const readings = await rowsOf(edge.databaseUrl, 'readings');
    await central.change(
      "UPDATE users SET email = email || '!'; UPDATE companies SET name = name || '!'; DELETE FROM users WHERE id > 100",
    );
    await syncs();
    expect(await rowsOf(edge.databaseUrl, 'readings')).toEqual(readings);

    const users = await rowsOf(edge.databaseUrl, 'users');
    await central.change('DELETE FROM users WHERE id IN (1, 2)');
    const answer = await edge.sync();
    expect(answer).toMatchObject({ httpStatus: 409, code: 'LOCAL_REFERENCE' });
    expect(answer.detail).toContain('2 rows of users');
    expect(answer.detail).toContain('(id)=(1) by public.readings (readings_user_id_fkey)');
    expect(await rowsOf(edge.databaseUrl, 'users')).toEqual(users);
    expect(await rowsOf(edge.databaseUrl, 'readings')).toEqual(readings);
    expect((await edge.status()).alert).toMatchObject({ code: 'LOCAL_REFERENCE' });

    await edge.query('DELETE FROM readings WHERE id IN (1, 2)');
    await syncs();
  });

  test('onReferenced: keep: the row stays, with what it references itself, beside a proven mirror, until nothing references it', async () => {
    await edge.query(`
    ALTER TABLE users ADD FOREIGN KEY (company_id) REFERENCES companies;
    CREATE TABLE readings (id int PRIMARY KEY, user_id int NOT NULL REFERENCES users ON DELETE CASCADE);
    INSERT INTO readings VALUES (1, 1), (2, 1), (3, 7);`);
    central.onReferenced = 'keep';
    await central.change('DELETE FROM users WHERE company_id = 2; DELETE FROM companies WHERE id = 2; DELETE FROM users WHERE id = 7');
    expect(await edge.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
    const kept = () => edge.query('SELECT table_name, row_key, referenced_by FROM waypost.edge_kept_rows ORDER BY 1, 2');
    expect(await kept()).toEqual([
      {
        table_name: 'companies',
        row_key: '(2)',
        referenced_by: 'public.readings (readings_user_id_fkey) through public.users (users_company_id_fkey)',
      },
      { table_name: 'users', row_key: '(1)', referenced_by: 'public.readings (readings_user_id_fkey)' },
      { table_name: 'users', row_key: '(7)', referenced_by: 'public.readings (readings_user_id_fkey)' },
    ]);
    expect(await edge.query('SELECT id FROM users WHERE company_id = 2 OR id = 7 ORDER BY id')).toEqual([{ id: 1 }, { id: 7 }]);
    expect((await edge.status()).keptRows).toBe(3);
    expect(await edge.query('SELECT FROM readings')).toHaveLength(3);

    expect(await edge.sync({ verify: true })).toMatchObject({ status: 'Unchanged' });
    await central.change('INSERT INTO users SELECT 7, 3, 7, NULL; UPDATE areas SET size = 9');
    expect(await edge.sync()).toMatchObject({ status: 'Success' });
    expect(await kept()).toHaveLength(2);
    expect(await edge.query('SELECT company_id FROM users WHERE id = 7')).toEqual([{ company_id: 3 }]);

    await edge.query('DELETE FROM readings WHERE user_id = 1');
    expect(await edge.sync()).toMatchObject({ status: 'Unchanged' });
    expect(await kept()).toEqual([]);
    await expectEqual();
  });

  test('keys of types and collations to which different bytes are equal', async () => {
    const types = `
    CREATE EXTENSION citext;
    CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
    CREATE DOMAIN tag AS citext;
    DROP TABLE companies, users, areas;
    CREATE TABLE companies (name citext PRIMARY KEY, n int);
    CREATE TABLE users (name text COLLATE blind PRIMARY KEY, n int);
    CREATE TABLE areas (name tag, part numeric, n int, PRIMARY KEY (name, part));`;
    await edge.query(types);
    await central.change(`${types}
    INSERT INTO companies VALUES ('Ada', 1), ('Bob', 2), ('Eve', 3);
    INSERT INTO users SELECT * FROM companies;
    INSERT INTO areas SELECT name, 1.0, n FROM companies;`);
    await syncs();
    await central.change(`
    UPDATE companies SET name = 'ADA' WHERE n = 1; UPDATE companies SET n = 9 WHERE n = 2; DELETE FROM companies WHERE n = 3;
    UPDATE users SET name = 'ÁDA' WHERE n = 1; UPDATE areas SET name = 'eve', part = 1.00 WHERE n = 3`);
    await syncs();
    expect(await edge.query("SELECT n FROM areas WHERE part::text = '1.00'")).toEqual([{ n: 3 }]);
  });

  test('deferred foreign keys and unique constraints', async () => {
    await edge.query(`
    ALTER TABLE users ADD FOREIGN KEY (company_id) REFERENCES companies DEFERRABLE INITIALLY DEFERRED;
    ALTER TABLE users ADD UNIQUE (rank) DEFERRABLE;`);
    await central.change(
      'UPDATE users SET rank = 601 - rank; DELETE FROM companies WHERE id = 3; UPDATE users SET company_id = 1 WHERE company_id = 3',
    );
    await syncs();
  });

  test('readers never wait, and see the old rows of all tables until they see the new ones of all', async () => {
    const reader = new pg.Client({ connectionString: edge.databaseUrl });
    await reader.connect();
    try {
      await reader.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM companies, users, areas LIMIT 1');
      await central.change("UPDATE companies SET name = 'new'; UPDATE users SET email = 'new'; DELETE FROM areas");
      await syncs();
      const { rows } = await reader.query(`
      SELECT (SELECT count(*)::int FROM companies WHERE name = 'new') AS companies,
             (SELECT count(*)::int FROM users WHERE email = 'new') AS users, (SELECT count(*)::int FROM areas) AS areas`);
      expect(rows).toEqual([{ companies: 0, users: 0, areas: 5 }]);
    } finally {
      await reader.end();
    }
  });

  test('a row that a local session holds makes the load step back and try again', async () => {
    const writer = new pg.Client({ connectionString: edge.databaseUrl });
    await writer.connect();
    await writer.query('BEGIN; SELECT FROM users WHERE id = 1 FOR UPDATE');
    await central.change("UPDATE users SET email = 'new'");
    const syncing = edge.sync();
    await until(async () => (await edge.query('SELECT FROM pg_locks WHERE NOT granted')).length > 0);
    await writer.query('COMMIT');
    await writer.end();
    expect(await syncing).toMatchObject({ status: 'Success' });
  });

  test('views, triggers, indexes, grants and publications on mirror tables survive', async () => {
    await edge.restart({ SIDE_EFFECT_TABLES: 'other, seen' });
    await edge.query(`
    CREATE TABLE seen (id int, op text);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen VALUES (coalesce(NEW.id, OLD.id), TG_OP); RETURN NULL; END $$;
    CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION note();
    CREATE VIEW bosses AS SELECT id, email FROM users WHERE rank < 10;
    CREATE INDEX by_email ON users (email);
    GRANT SELECT ON users TO pg_monitor;
    CREATE PUBLICATION p FOR TABLE users;`);
    const objects = () =>
      edge.query(`SELECT c.oid, c.relacl::text, (SELECT array_agg(indexrelid::regclass::text ORDER BY 1) FROM pg_index WHERE indrelid = c.oid) AS indexes,
      (SELECT count(*) FROM pg_publication_rel WHERE prrelid = c.oid) AS publications FROM pg_class c WHERE relname = 'users'`);
    const before = await objects();
    await central.change(
      "UPDATE users SET email = 'new' WHERE id = 3; DELETE FROM users WHERE id = 4; INSERT INTO users VALUES (5000, 1, 5000, NULL)",
    );
    await syncs();
    expect(await objects()).toEqual(before);
    expect(await edge.query('SELECT * FROM bosses WHERE id = 3')).toEqual([{ id: 3, email: 'new' }]);
    expect(await edge.query('SELECT * FROM seen ORDER BY 1')).toEqual([
      { id: 3, op: 'UPDATE' },
      { id: 4, op: 'DELETE' },
      { id: 5000, op: 'INSERT' },
    ]);
  });

  test('LOAD_STRATEGY=merge merges into empty tables too', async () => {
    await using other = await Edge.start({
      databaseUrl: (await server.createDatabase('other')).url,
      centralUrl: central.url,
      env: { LOAD_STRATEGY: 'merge' },
    });
    expect(await other.sync()).toMatchObject({ status: 'Success' });
    expect(await rowsOf(other.databaseUrl, 'users')).toEqual(await rowsOf(source, 'users'));
  });
});

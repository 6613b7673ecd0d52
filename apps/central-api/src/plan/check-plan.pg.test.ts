import { createPool } from '@waypost/runtime';
import type pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { runSql } from '../../testing/sql.js';
import { checkPlan } from './check-plan.js';
import { describeExplanation } from './describe-explanation.js';
import { explainPlan, failsForAll } from './explain-plan.js';
import { parsePlan } from './read-plan.js';

const SCHEMA = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY, shop int, tag varchar(9), since timestamptz);
  CREATE TABLE users (id int PRIMARY KEY, shop int, name text, upper_name text GENERATED ALWAYS AS (upper(name)) STORED);
  CREATE TABLE members (user_id int, shop int, PRIMARY KEY (user_id, shop));
  CREATE TABLE keyless (id int, doc json);
  CREATE TABLE indexed (nullable int UNIQUE, code text NOT NULL, "Site's" int NOT NULL, part int NOT NULL, upper_code text GENERATED ALWAYS AS (upper(code)) STORED NOT NULL);
  CREATE UNIQUE INDEX ON indexed (upper_code); CREATE UNIQUE INDEX ON indexed (part, code, "Site's"); CREATE UNIQUE INDEX ON indexed (code, "Site's");
  CREATE UNIQUE INDEX ON indexed (part) WHERE part > 0;
  CREATE VIEW people AS SELECT id, name FROM users;
  INSERT INTO users SELECT id, id % 9, 'n' FROM generate_series(1, 5000) AS id;
  ANALYZE`;

let server: TestServer;
let pool: pg.Pool;

beforeAll(async () => {
  server = await startTestServer();
  const { url } = await server.createDatabase('plan');
  await runSql(url, SCHEMA);
  pool = createPool({ url, applicationName: 'test', maxConnections: 1, onIdleError: () => undefined });
});

afterAll(async () => {
  await pool?.end();
  await server?.[Symbol.asyncDispose]();
});

/** A plan with these tables, which start in line 7. */
function planWith(tables: string, query = 'SELECT shop, tag, since FROM devices WHERE mac = :mac') {
  return parsePlan('p.yaml', `version: 1\nschemaVersion: 1\nscope:\n  query: |\n    ${query}\ntables:\n${tables}`);
}

/** What is wrong with a plan, line by line; nothing if it fits. */
async function faultsOf(tables: string, query?: string): Promise<string[]> {
  return checkPlan(pool, planWith(tables, query)).then(
    () => [],
    (error: unknown) => {
      expect(error).toMatchObject({ code: 'PLAN_INVALID' });
      return (error as Error).message.split('\n');
    },
  );
}

test('a plan that fits knows its parameters, their types and the bound scope query', async () => {
  const plan = await checkPlan(pool, planWith('  - name: users\n    where: shop = :shop AND name <> :tag AND now() > :since'));
  expect([...plan.scopeTypes]).toEqual([
    ['shop', 'integer'],
    ['tag', 'character varying(9)'],
    ['since', 'timestamp with time zone'],
  ]);
  expect(plan.tables).toMatchObject([
    { name: 'users', identifier: { schema: 'public', table: 'users' }, parameters: ['shop', 'tag', 'since'] },
  ]);
  expect(plan.scopeQuery).toContain('mac = $1');
});

test.each<[string, string, RegExp[]]>([
  ['an unknown table', '  - name: userz', [/^p\.yaml:7: table userz does not exist/]],
  ['a table of another schema', '  - name: sales.users', [/^p\.yaml:7: table sales\.users does not exist/]],
  ['a name that is none', '  - name: users; drop', [/^p\.yaml:7: "users; drop" is not/]],
  ['an unknown column', '  - name: users\n    columns:\n      - id\n      - nam', [/^p\.yaml:10: table users has no column "nam"/]],
  ['a column name that is none', '  - name: users\n    columns:\n      - id\n      - a b', [/^p\.yaml:10: "a b" is not a column name/]],
  ['a column twice', '  - name: users\n    columns: [id, name, id]', [/^p\.yaml:8: column "id" is named twice/]],
  ['a generated column', '  - name: users\n    columns: [id, upper_name]', [/^p\.yaml:8: column "upper_name" of users is generated/]],
  ['columns without the key', '  - name: users\n    columns: [name]', [/^p\.yaml:8: key column "id" of users is not among its columns/]],
  ['an unknown key', '  - name: users\n    key: [uid]', [/^p\.yaml:8: table users has no key column "uid"/]],
  ['no key', '  - name: keyless', [/^p\.yaml:7: table keyless has no primary key/]],
  ['a view without key', '  - name: people', [/^p\.yaml:7: view people has no primary key/]],
  [
    'no key, but a unique index that guards one',
    '  - name: indexed',
    [/^p\.yaml:7: table indexed has no primary key: .* add to the plan {2}key: \[code, '"Site''s"'\]$/],
  ],
  [
    'no key, and its unique indexes not among the columns',
    '  - name: indexed\n    columns: [part, nullable]',
    [/^p\.yaml:7: table indexed has no primary key: name the columns/],
  ],
  ['a key that has no order', '  - name: keyless\n    key: [doc]', [/^p\.yaml:7: .*ordering operator for type json/]],
  ['a table twice', '  - name: users\n  - name: members\n  - name: public.users', [/^p\.yaml:9: table public\.users is named twice/]],
  ['wrong SQL', '  - name: users\n    where: shop === 1', [/^p\.yaml:8: operator does not exist/]],
  [
    'an unknown column in SQL',
    '  - name: users\n    where: |\n      shop = 1\n      AND name = :tag\n      AND shap = 1',
    [/^p\.yaml:11: column "shap" does not exist/],
  ],
  [
    'an unknown column after an emoji',
    "  - name: users\n    where: |\n      name = '😀😀😀'\n      AND x = 1",
    [/^p\.yaml:10: column "x"/],
  ],
  ['a filter that is not boolean', '  - name: users\n    where: id', [/^p\.yaml:8: argument of WHERE must be type boolean/]],
  [
    'an unknown parameter',
    '  - name: users\n    where: |\n      -- not :shopp here\n      shop = :shop\n      AND id = :shopp',
    [/^p\.yaml:11: the scope gives no column "shopp" for :shopp \(it gives shop, tag, since\)/],
  ],
  [
    'a parameter of a wrong type',
    '  - name: users\n    where: shop = :since',
    [/^p\.yaml:8: operator does not exist: integer = timestamp/],
  ],
  ['an unclosed bracket', '  - name: users\n    where: (shop = 1', [/^p\.yaml:\d+: syntax error/]],
  ['an unclosed quote', `  - name: users\n    where: "name = 'x"`, [/^p\.yaml:8: unterminated quoted string/]],
  ['an unclosed comment', '  - name: users\n    where: shop = 1 /* and', [/^p\.yaml:8: unterminated \/\* comment/]],
  [
    'a second statement',
    '  - name: users\n    where: "true); DROP TABLE users; --"',
    [/^p\.yaml:8: (cannot insert multiple commands|syntax error)/],
  ],
  [
    'a second statement before the first one’s end',
    '  - name: users\n    where: "true) ORDER BY 1; DROP TABLE users; SELECT 1 WHERE (true"',
    [/^p\.yaml:8: cannot insert multiple commands/],
  ],
])('%s is refused, with its line', async (_, tables, faults) => {
  expect(await faultsOf(tables)).toEqual(faults.map((fault) => expect.stringMatching(fault) as string));
  expect((await pool.query('SELECT count(*)::int AS n FROM users')).rows).toEqual([{ n: 5000 }]);
});

test.each<[string, string, RegExp[]]>([
  ['that does not ask who', 'SELECT shop FROM devices', [/^p\.yaml:5: the scope query does not use :mac/]],
  [
    'with a parameter of its own',
    'SELECT shop FROM devices\n    WHERE mac = :mac\n    AND shop = :shop',
    [/^p\.yaml:7: the scope query knows only :mac, not :shop/],
  ],
  ['of an unknown table', 'SELECT *\n    FROM devicez WHERE mac = :mac', [/^p\.yaml:6: relation "devicez" does not exist/]],
  [
    'that is two statements',
    'SELECT shop FROM devices WHERE mac = :mac) AS s; DROP TABLE users; --',
    [/^p\.yaml:5: (cannot insert multiple commands|syntax error)/],
  ],
  ['that writes', 'DELETE FROM devices WHERE mac = :mac RETURNING shop', [/^p\.yaml:5: syntax error/]],
  [
    'that gives a column twice',
    'SELECT shop, tag, since AS shop FROM devices WHERE mac = :mac',
    [/^p\.yaml:5: the scope query gives the column "shop" twice/],
  ],
])('a scope query %s is refused, with its line', async (_, query, faults) => {
  expect(await faultsOf('  - name: users', query)).toEqual(faults.map((fault) => expect.stringMatching(fault) as string));
  expect((await pool.query('SELECT count(*)::int AS n FROM users')).rows).toEqual([{ n: 5000 }]);
});

test('all faults are listed at once', async () => {
  const faults = await faultsOf(
    '  - name: userz\n  - name: users\n    columns: [id, a, b]\n  - name: members\n    where: x = :y\n  - name: devices\n    where: z = 1',
  );
  expect(faults.map((fault) => fault.split(':')[1])).toEqual(['7', '9', '9', '11', '13']);
});

test('a view, and a table without primary key, are taken with a declared key', async () => {
  expect(
    await faultsOf('  - name: people\n    key: [id]\n    where: id > 0 -- a comment at the end\n  - name: keyless\n    key: [id]'),
  ).toEqual([]);
});

test('a proposed key is taken as it was proposed, and is proven', async () => {
  const plan = await checkPlan(pool, planWith(`  - name: indexed\n    key: [code, '"Site''s"']`));
  expect(await explainPlan(pool, plan)).toMatchObject([{ key: ['code', "Site's"], keyIsProven: true }]);
});

test.each<[string, string, object | null, RegExp, boolean]>([
  ['proven by an index', '  - name: users', null, /^(?!.*KEY_NOT_UNIQUE)/s, false],
  [
    'unproven and unique now',
    '  - name: people\n    key: [id]',
    { incomplete: 0, repeated: 0, isCertain: true },
    /it identifies the rows now/,
    false,
  ],
  [
    'of a view that repeats it for every device',
    '  - name: people\n    key: [name]\n    where: id > 4998',
    { incomplete: 0, repeated: 1, isCertain: true },
    /WARNING: it does not identify the rows: 1 of its values occur more than once\. No device/,
    true,
  ],
  [
    'that two devices may share',
    '  - name: people\n    key: [name]\n    where: id = :shop',
    { incomplete: 0, repeated: 1, isCertain: false },
    /WARNING: it does not identify the rows of all devices together/,
    false,
  ],
  [
    'with NULLs',
    '  - name: keyless\n    key: [id]',
    { incomplete: 2, repeated: 0, isCertain: true },
    /WARNING: .*2 rows have a NULL in it/,
    true,
  ],
])('the rows are looked at for a key %s', async (_, tables, keyCheck, text, isFailing) => {
  await pool.query('TRUNCATE keyless; INSERT INTO keyless VALUES (NULL), (NULL), (1)');
  const [explained] = await explainPlan(pool, await checkPlan(pool, planWith(tables)));
  expect(explained).toMatchObject({ keyCheck });
  expect(describeExplanation(explained!, { reads: 'chunks', because: null })).toMatch(text);
  expect(failsForAll(explained!)).toBe(isFailing);
});

test('generated columns are left out where no columns are named', async () => {
  const [users] = await explainPlan(pool, await checkPlan(pool, planWith('  - name: users')));
  expect(users).toMatchObject({ columns: 3, key: ['id'] });
});

test('an explanation tells who reads what, and whether an index gives the order', async () => {
  const plan = planWith(
    '  - name: users\n    where: EXISTS (SELECT FROM members m WHERE m.user_id = users.id AND m.shop = :shop)\n' +
      '  - name: people\n    key: [name]\n  - name: devices\n    where: mac IS NOT NULL',
  );
  await pool.query('CREATE INDEX IF NOT EXISTS users_by_shop ON users (shop, id)');
  const explained = await explainPlan(pool, await checkPlan(pool, plan));
  expect(explained).toMatchObject([
    { name: 'users', parameters: ['shop'], reads: ['public.members', 'public.users'], estimatedRows: expect.any(Number) },
    { name: 'people', parameters: [], reads: ['public.users'], estimatedRows: 5000, orderedByIndex: false },
    { name: 'devices', parameters: [], reads: ['public.devices'] },
  ]);
  const [byIndex] = await explainPlan(pool, await checkPlan(pool, planWith('  - name: users')));
  expect(byIndex).toMatchObject({ orderedByIndex: true, estimatedRows: 5000, reads: ['public.users'] });
});

test('a table that was never analyzed is named: the planner guesses how many rows it has', async () => {
  await pool.query(
    'CREATE TABLE loaded (id int PRIMARY KEY) WITH (autovacuum_enabled = off); INSERT INTO loaded SELECT generate_series(1, 10)',
  );
  const explain = async () => (await explainPlan(pool, await checkPlan(pool, planWith('  - name: loaded'))))[0]!;
  const text = (explanation: Awaited<ReturnType<typeof explain>>) => describeExplanation(explanation, { reads: 'chunks', because: null });
  const guessed = await explain();
  expect(guessed.neverAnalyzed).toEqual(['public.loaded']);
  expect(text(guessed)).toContain("a guess: run ANALYZE in central's database; never analyzed: public.loaded");
  await pool.query('ANALYZE loaded');
  const known = await explain();
  expect(known).toMatchObject({ estimatedRows: 10, neverAnalyzed: [] });
  expect(text(known)).not.toContain('ANALYZE');
});

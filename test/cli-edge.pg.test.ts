import { MAC, SyncPair } from './support/sync-pair.js';
import { waypost, waypostJson } from './support/waypost.js';

let pair: SyncPair;
let atEdge: Record<string, string>;

beforeAll(async () => {
  pair = await SyncPair.start();
  await pair.sync();
  atEdge = { DATABASE_URL: pair.edgeUrl };
});

afterAll(() => pair?.[Symbol.asyncDispose]());

interface Verified {
  ok: boolean;
  drifted: string[];
  tables: { name: string; state: string; actual: { rowCount: number; sha256: string } | null; keptRows: number; differences: string[] }[];
  central: { asked: boolean; found: boolean; differences: string[]; reason: string | null };
}

const verify = (args: string[] = [], env = atEdge) => waypostJson<Verified>(['verify', ...args], env);

/** Drifts the edge, looks, and puts everything back. */
async function whileDrifted<T>(sql: string, look: () => Promise<T>): Promise<T> {
  await pair.atEdge(sql);
  try {
    return await look();
  } finally {
    await pair.sync({ verify: true });
    expect(await verify()).toMatchObject({ code: 0, json: { ok: true } });
  }
}

test('an untouched mirror verifies from its own state, and against central by HTTP and by its database', async () => {
  const own = await verify();
  expect(own).toMatchObject({ code: 0, json: { ok: true, drifted: [], central: { asked: false } } });
  expect(own.json.tables.map(({ name, state }) => [name, state])).toEqual([
    ['shops', 'ok'],
    ['articles', 'ok'],
  ]);
  const byHttp = await verify(['--central-url', pair.central.url]);
  expect(byHttp).toMatchObject({ code: 0, json: { central: { found: true, differences: [] } } });
  const byDatabase = await verify([], { ...atEdge, CENTRAL_DATABASE_URL: pair.centralServer.url() });
  expect(byDatabase).toMatchObject({ code: 0, json: { central: { found: true, differences: [] } } });
});

test('central keeps no record of being asked for a manifest again', async () => {
  const count = () => pair.atCentral<{ n: number }>('SELECT count(*)::int AS n FROM waypost.sync_requests');
  const before = await count();
  await verify(['--central-url', pair.central.url]);
  expect(await count()).toEqual(before);
});

test('a changed value is drift: exit status 1, and the table is named', async () => {
  await whileDrifted("UPDATE articles SET name = 'forged' WHERE id = 42", async () => {
    const { code, json } = await verify();
    expect({ code, drifted: json.drifted }).toEqual({ code: 1, drifted: ['articles'] });
    expect(json.tables[1]).toMatchObject({ state: 'drifted', actual: { rowCount: 2000 } });
    const plain = await waypost(['verify'], atEdge);
    expect(plain.code).toBe(1);
    expect(plain.out.split('\n')[0]).toBe('DRIFT  articles');
    expect(plain.out).toContain('→ repair: curl');
  });
});

test.each([
  ['a row too many', 'INSERT INTO shops VALUES (99, $$x$$)', 'shops', { state: 'drifted', actual: { rowCount: 2 } }],
  ['a row too few', 'DELETE FROM articles WHERE id = 42', 'articles', { state: 'drifted', actual: { rowCount: 1999 } }],
  ['a missing table', 'DROP TABLE articles', 'articles', { state: 'missing', actual: null }],
])('%s is found', async (_, sql, name, expected) => {
  await whileDrifted(sql, async () => {
    const { code, json } = await verify();
    expect({ code, drifted: json.drifted }).toEqual({ code: 1, drifted: [name] });
    expect(json.tables.find((table) => table.name === name)).toMatchObject(expected);
  });
});

test('an altered table is named with its difference', async () => {
  await pair.atEdge('ALTER TABLE shops ADD COLUMN own text');
  const { code, json } = await verify();
  await pair.atEdge('ALTER TABLE shops DROP COLUMN own');
  expect(code).toBe(1);
  expect(json.tables[0]).toMatchObject({ state: 'altered', differences: ['shops has a column own text that the manifest lacks'] });
});

test('kept rows are beside the mirror: they are counted and left out', async () => {
  await pair.atEdge(`
    INSERT INTO shops VALUES (77, 'gone');
    INSERT INTO waypost.edge_kept_rows (table_name, row_key, referenced_by) VALUES ('shops', '(77)', 'orders')`);
  const { code, json } = await verify();
  await pair.atEdge('DELETE FROM shops WHERE id = 77; DELETE FROM waypost.edge_kept_rows');
  expect(code).toBe(0);
  expect(json.tables[0]).toMatchObject({ name: 'shops', state: 'ok', keptRows: 1, actual: { rowCount: 1 } });
});

test('a manifest that was forged on the device is found by asking central', async () => {
  const [state] = await pair.atEdge<{ value: string }>("SELECT value FROM waypost.edge_sync_state WHERE key = 'manifest'");
  const forged = JSON.parse(state?.value as string) as { tables: { rowCount: number }[] };
  (forged.tables[0] as { rowCount: number }).rowCount = 2;
  await pair.atEdge(`
    INSERT INTO shops VALUES (99, 'x');
    UPDATE waypost.edge_sync_state SET value = $json$${JSON.stringify(forged)}$json$ WHERE key = 'manifest'`);
  const { code, json } = await verify(['--central-url', pair.central.url]);
  expect(code).toBe(1);
  expect(json.central.differences).toEqual([expect.stringMatching(/^shops: central’s manifest says 1 rows/)]);
  await whileDrifted('SELECT 1', async () => undefined);
});

test('it needs no more than the right to read, and so can change nothing', async () => {
  await pair.atEdge(`
    CREATE ROLE looker LOGIN PASSWORD 'l00ker';
    GRANT USAGE ON SCHEMA waypost TO looker; GRANT SELECT ON ALL TABLES IN SCHEMA waypost, public TO looker`);
  const url = new URL(pair.edgeUrl);
  Object.assign(url, { username: 'looker', password: 'l00ker' });
  expect(await verify([], { DATABASE_URL: url.href })).toMatchObject({ code: 0, json: { ok: true } });
});

test('an unreachable central is only told of where the environment names it, and exit status 3 where the command line does', async () => {
  const unreachable = 'http://127.0.0.1:9';
  const { code, json } = await verify([], { ...atEdge, CENTRAL_URL: unreachable });
  expect({ code, central: json.central }).toMatchObject({
    code: 0,
    central: { asked: true, found: false, reason: expect.stringContaining(unreachable) },
  });
  expect(await waypostJson(['verify', '--central-url', unreachable], atEdge)).toMatchObject({
    code: 3,
    json: { error: { code: 'CENTRAL_UNREACHABLE' } },
  });
});

test('a device that never synced has nothing to verify', async () => {
  const [saved] = await pair.atEdge<{ state: string }>('SELECT json_agg(s)::text AS state FROM waypost.edge_sync_state s');
  await pair.atEdge('DELETE FROM waypost.edge_sync_state');
  expect(await waypostJson(['verify'], atEdge)).toMatchObject({ code: 1, json: { error: { code: 'MANIFEST_UNKNOWN' } } });
  expect((await waypost(['status'], atEdge)).out).toContain('✗ Nothing was ever loaded and verified');
  await pair.atEdge(
    `INSERT INTO waypost.edge_sync_state SELECT * FROM json_populate_recordset(NULL::waypost.edge_sync_state, $json$${saved?.state}$json$)`,
  );
});

test('status: from the database, from the service, and from both', async () => {
  const fromDatabase = await waypostJson(['status'], atEdge);
  expect(fromDatabase).toMatchObject({
    code: 0,
    json: { side: 'edge', ok: true, mac: MAC, tables: 2, rows: 2001, service: null, pendingAcks: 0 },
  });
  const fromService = await waypostJson(['status', '--url', pair.edge.url]);
  expect(fromService).toMatchObject({ code: 0, json: { side: 'edge', database: null, service: { answers: true, breaker: 'closed' } } });
  const both = await waypost(['status'], { ...atEdge, DEVICE_MAC: MAC, PORT: pair.edge.port });
  expect(both).toMatchObject({ code: 0, err: '' });
  expect(both.out).toMatch(/^OK {2}Verified (?:\d+ (?:ms|s|min|h) )+ago\./);
});

test('status of a device whose cycles fail says why and what to do, and its service may be gone', async () => {
  await pair.atEdge('ALTER TABLE shops ADD COLUMN own text');
  await pair.change();
  await pair.sync();
  const failing = await waypost(['status', '--url', pair.edge.url], atEdge);
  await pair.atEdge('ALTER TABLE shops DROP COLUMN own');
  expect(failing.code).toBe(1);
  expect(failing.out).toMatch(/✗ The last cycle failed: SCHEMA_MISMATCH: shops has a column own/);
  expect(failing.out).toContain('→ The device keeps the data that it has. Run what the detail says');
  const gone = await waypost(['status', '--url', 'http://127.0.0.1:9'], atEdge);
  expect(gone.code).toBe(1);
  expect(gone.out).toContain('✗ edge-service does not answer at http://127.0.0.1:9');
  await pair.sync();
  expect((await waypost(['status'], atEdge)).code).toBe(0);
});

describe('adopt', () => {
  interface Adopted {
    adopted: string[];
    tables: { name: string; exists: boolean; ours: boolean; how: string | null }[];
  }
  const adopt = (...tables: string[]) => waypostJson<Adopted>(['adopt', ...tables], atEdge);

  test('lists whose each table is, and hands tables over', async () => {
    await pair.atEdge('CREATE TABLE notes (id int); CREATE VIEW seen AS SELECT 1 AS id');
    const before = await adopt();
    expect(before.json.tables).toMatchObject([
      { name: 'articles', ours: true, how: 'created' },
      { name: 'notes', ours: false, how: null },
      { name: 'shops', ours: true, how: 'created' },
    ]);
    const after = await adopt('notes', 'later');
    expect(after).toMatchObject({ code: 0, json: { adopted: ['"public"."notes"', '"public"."later"'] } });
    expect(after.json.tables).toContainEqual(expect.objectContaining({ name: 'notes', ours: true, how: 'adopted' }));
    expect((await waypost(['adopt'], atEdge)).out).toMatch(/notes +Waypost’s +adopted/);
    for (const refused of ['seen', 'waypost.edge_acks', 'pg_catalog.pg_class', 'a.b.c.d'])
      expect(await adopt(refused)).toMatchObject({ code: 2, json: { error: { code: 'CONFIG_INVALID' } } });
  });
});

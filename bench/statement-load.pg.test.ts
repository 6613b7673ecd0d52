import pg from 'pg';
import { startTestServer, type TestDatabase, type TestServer } from '../test/support/postgres.js';
import { runScript, type Script } from './statement-load.js';

let server: TestServer;
let database: TestDatabase;

beforeAll(async () => {
  server = await startTestServer();
  database = await server.createDatabase('load');
});
afterAll(() => server?.[Symbol.asyncDispose]());

async function sql<Row extends pg.QueryResultRow>(text: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  try {
    return (await client.query<Row>(text)).rows;
  } finally {
    await client.end();
  }
}

function load(script: Script, ids: number, settings: Record<string, string> = {}): Promise<number> {
  let next = 0;
  const nextId = (): bigint | undefined => (next < ids ? BigInt(++next) : undefined);
  return runScript({ url: database.url, script, connections: 3, settings, seconds: 600, nextId });
}

test('each id is taken through the whole script once, in a session with the settings that were asked for', async () => {
  await sql(
    'CREATE TABLE rows (id bigint PRIMARY KEY, sync text NOT NULL, xid xid8 NOT NULL); CREATE TABLE history (id bigint, xid xid8 NOT NULL)',
  );
  const rate = await load(
    [
      { text: 'BEGIN', takesId: false },
      { text: "INSERT INTO rows VALUES ($1, current_setting('synchronous_commit'), pg_current_xact_id())", takesId: true },
      { text: 'SELECT * FROM rows WHERE id = $1', takesId: true },
      { text: 'INSERT INTO history VALUES ($1, pg_current_xact_id())', takesId: true },
      { text: 'COMMIT', takesId: false },
    ],
    500,
    { synchronous_commit: 'off' },
  );
  expect(rate).toBeGreaterThan(0);
  const [row] = await sql(
    `SELECT count(*)::int AS both, min(id)::int AS first, max(id)::int AS last, count(DISTINCT xid)::int AS transactions, min(sync) AS sync
     FROM rows JOIN history USING (id, xid)`,
  );
  expect(row).toEqual({ both: 500, first: 1, last: 500, transactions: 500, sync: 'off' });
});

test('a statement that fails ends the load', async () => {
  await expect(load([{ text: 'SELECT 1 / ($1 - 7)', takesId: true }], 10)).rejects.toThrow('division by zero');
});

import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { type Edge, queryAt } from '../../testing/edge.js';
import type { FakeCentral } from '../../testing/fake-central.js';
import { type FakePair, startFakePair } from '../../testing/fake-pair.js';

const CREATE = `
  CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL);
  INSERT INTO users SELECT g, md5(g::text) FROM generate_series(1, 20000) g;`;
const CONTENT = "SELECT count(*)::int AS rows, md5(string_agg(u::text, ',' ORDER BY id)) AS hash FROM users u";

let server: TestServer;
let source: string;
let central: FakeCentral;
let edge: Edge;
let pair: FakePair;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());

beforeEach(async () => {
  pair = await startFakePair({ server, source: CREATE, tables: ['users'] });
  ({ source, central, edge } = pair);
});
afterEach(() => pair?.[Symbol.asyncDispose]());

const isCopying = async (): Promise<boolean> =>
  (await edge.query("SELECT FROM pg_stat_progress_copy WHERE command = 'COPY FROM' AND tuples_processed > 0")).length > 0;

/** The first answer breaks off in the middle; `onResume` runs when the device asks for the rest. */
async function breakOff(onResume: () => Promise<void>): Promise<void> {
  await central.publish();
  central.streamFault = ({ offset, bytes }) =>
    offset === 0 ? { bytes: bytes.subarray(0, bytes.length >> 1), contentLength: bytes.length, then: 'break' } : undefined;
  central.onRequest = async (path) => {
    if (path.includes('/chunks') && central.downloads('users') > 1) await onResume();
  };
}

test('a table that is new here is loaded while the rest of it is still to come', async () => {
  await breakOff(() => until(isCopying));
  expect(await edge.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  expect(await edge.query(CONTENT)).toEqual(await queryAt(source, CONTENT));
  expect(central.requests.map(({ range }) => range).filter(Boolean)).toHaveLength(1);
});

test('a table that others may be reading is not touched before all of it is there', async () => {
  await edge.sync();
  await queryAt(source, "UPDATE users SET name = name || '!'");
  let wasCopying: boolean | undefined;
  await breakOff(async () => {
    wasCopying = await isCopying();
  });
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(wasCopying).toBe(false);
});

test('a download that fails for good takes the rows back that it had brought, and the next cycle goes on behind them', async () => {
  await breakOff(async () => {
    await until(isCopying);
    central.refusals.set('/chunks', 'CENTRAL_BUSY');
  });
  expect(await edge.sync()).toMatchObject({ code: 'CENTRAL_BUSY' });
  expect(await edge.query("SELECT to_regclass('users') AS users")).toEqual([{ users: null }]);
  central.heal();
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await edge.query(CONTENT)).toEqual(await queryAt(source, CONTENT));
  expect(central.requests.at(-2)?.range).toMatch(/^bytes=[1-9]/);
});

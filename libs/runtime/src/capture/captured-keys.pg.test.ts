import fc from 'fast-check';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { readCapturedKey } from './captured-keys.js';

let server: TestServer;
let client: pg.Client;

beforeAll(async () => {
  server = await startTestServer();
  client = new pg.Client({ connectionString: (await server.createDatabase('keys')).url });
  await client.connect();
});
afterAll(async () => {
  await client?.end();
  await server?.[Symbol.asyncDispose]();
});

const text = fc.string({ unit: fc.constantFrom('"', '\\', ',', '(', ')', ' ', "'", '\n', 'a', 'é', '😀'), maxLength: 8 });

test.each([1, 2, 3])('a key of %i columns is read as it was printed', async (count) => {
  await fc.assert(
    fc.asyncProperty(fc.array(text, { minLength: count, maxLength: count }), async (values) => {
      const printed = count === 1 ? '$1::text' : `ROW(${values.map((_, at) => `$${at + 1}::text`).join(', ')})::text`;
      const { rows } = await client.query<{ key: string }>(`SELECT ${printed} AS key`, values);
      expect(readCapturedKey(rows[0]!.key, count)).toEqual(values);
    }),
  );
});

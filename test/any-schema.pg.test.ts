import { expectGolden } from './corpus/golden.js';
import { CorpusPair } from './support/corpus-pair.js';
import { startTestServer, type TestServer } from './support/postgres.js';

const ICU = "LOCALE_PROVIDER icu ICU_LOCALE 'en-US'";

let server: TestServer;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
});

describe.each([
  [
    'a central database that sorts as people do, and a device that sorts bytes, with odd settings',
    { locale: ICU },
    { hasOddSettings: true },
  ],
  [
    'a central database that sorts bytes, with odd settings, and a device that sorts as people do',
    { hasOddSettings: true },
    { locale: ICU },
  ],
])('%s', (_, central, edge) => {
  let pair: CorpusPair;

  beforeAll(async () => {
    pair = await CorpusPair.start({ server, ...central }, { server, ...edge });
  });
  afterAll(async () => {
    await pair?.[Symbol.asyncDispose]();
  });

  test('every table arrives as it is', async () => {
    await pair.sync('Success');
    await pair.expectEqualContents();
    expectGolden('filled', await pair.tables());
  });

  test('every table arrives again after its rows have changed', async () => {
    const before = new Map((await pair.sync('Unchanged')).tables.map(({ name, sha256 }) => [name, sha256]));
    await pair.changeRows();
    const { tables } = await pair.sync('Success');
    expect(tables.filter(({ name, sha256 }) => before.get(name) === sha256)).toEqual([]);
    await pair.expectEqualContents();
    expectGolden('changed', await pair.tables());
  });

  test('nothing of it is found to differ when all is hashed again', async () => {
    await pair.sync('Unchanged', { verify: true });
  });
});

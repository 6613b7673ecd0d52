import { expectGolden } from './corpus/golden.js';
import { CorpusPair } from './support/corpus-pair.js';
import { OTHER_VERSIONS } from './support/postgres-versions.js';
import { startTestServer, type TestServer, testServerAt } from './support/postgres.js';

/** Other versions than the default one: those that are installed, and servers that were started separately, `TEST_POSTGRES_OTHERS=postgres://…,postgres://…`. */
const OTHERS = [...OTHER_VERSIONS, ...(process.env['TEST_POSTGRES_OTHERS'] ?? '').split(',').filter(Boolean)];

const eachOther = OTHERS.length > 0 ? describe.each(OTHERS) : describe.skip.each(['no other version is installed']);

eachOther('%s', (other) => {
  let servers: { usual: TestServer; other: TestServer };

  beforeAll(async () => {
    const starting = other.startsWith('postgres') ? testServerAt(other) : startTestServer({ npmPackage: other });
    servers = { usual: await startTestServer(), other: await starting };
  });
  afterAll(async () => {
    await servers?.usual[Symbol.asyncDispose]();
    await servers?.other[Symbol.asyncDispose]();
  });

  test.each([
    ['as central', 'other', 'usual'],
    ['on the device', 'usual', 'other'],
  ] as const)('%s gives the same hashes, and holds the same values', async (_, central, edge) => {
    await using pair = await CorpusPair.start({ server: servers[central] }, { server: servers[edge] });
    await pair.sync('Success');
    await pair.expectEqualContents();
    expectGolden('filled', await pair.tables());
    await pair.changeRows();
    await pair.sync('Success');
    await pair.expectEqualContents();
    expectGolden('changed', await pair.tables());
  });
});

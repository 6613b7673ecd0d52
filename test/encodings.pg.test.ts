import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Manifest } from '@waypost/contracts';
import { withClient } from '../scripts/with-client.js';
import type { Side } from './support/image-roles.js';
import { type SideDatabase, startTestServer, type TestServer } from './support/postgres.js';
import { post, Service } from './support/service.js';
import { contentsOf } from './support/table-contents.js';
import { temporaryFolder, type TemporaryFolder } from './support/temporary-folder.js';

const MAC = '48:b0:2d:e9:c3:b7';
const CYRILLIC = ['юг', 'абв', 'цех', 'мир', 'ёлка', 'ящик', 'z', 'a', 'ЮГ'];
const WESTERN = ['é', 'z', 'a', 'ÿ', 'Œ', 'š', 'Ž', '€', 'ß'];
const JAPANESE = ['日本', 'ア', 'あ', 'a', '亜', '本'];

/** Keys of strings, of arrays, and of what is ordered by its text. */
const tablesOf = (words: readonly string[]): string => `
  CREATE TABLE words (word text PRIMARY KEY, n int);
  INSERT INTO words VALUES ${words.map((word, at) => `('${word}', ${at})`).join(', ')};
  CREATE TABLE letters (letter char(4) PRIMARY KEY); INSERT INTO letters SELECT left(word, 4) FROM words
    WHERE current_setting('server_encoding') <> 'SQL_ASCII'; -- there a character is a byte, and char(4) pads to four of them
  CREATE TABLE lists (words varchar(20)[] PRIMARY KEY, n int);
  INSERT INTO lists SELECT ARRAY[a.word, b.word], a.n FROM words a, words b UNION ALL SELECT ARRAY[word, NULL], n FROM words UNION ALL SELECT '{}', 0;
  CREATE TABLE documents (document jsonb PRIMARY KEY); INSERT INTO documents SELECT jsonb_build_object('a', word) FROM words;
  CREATE TYPE mood AS ENUM (${words.map((word) => `'${word}'`).join(', ')});
  CREATE TABLE moods (mood mood PRIMARY KEY, more mood[]); INSERT INTO moods SELECT m, ARRAY[m] FROM unnest(enum_range(NULL::mood)) m;`;
const CHANGE = `
  UPDATE words SET n = 100 + n WHERE n = 3; DELETE FROM words WHERE n = 1;
  UPDATE lists SET n = n + 1 WHERE n = 2; DELETE FROM lists WHERE n = 1;
  DELETE FROM letters WHERE letter = 'a'; DELETE FROM documents WHERE document ->> 'a' = 'a'; DELETE FROM moods WHERE mood = 'a'`;
const PLAN = `
version: 1
schemaVersion: 1
scope:
  query: SELECT mac FROM devices WHERE mac = :mac
tables: [{ name: words }, { name: letters }, { name: lists }, { name: documents }, { name: moods }]
`;

let server: TestServer;
let folder: TemporaryFolder;

beforeAll(async () => {
  server = await startTestServer();
  folder = await temporaryFolder();
  await writeFile(join(folder.path, 'plan.yaml'), PLAN);
});
afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

class Pair implements AsyncDisposable {
  private constructor(
    readonly databases: Record<Side, SideDatabase>,
    private readonly central: Service,
    private readonly edge: Service,
  ) {}

  static async start(centralEncoding: string, edgeEncoding: string, words: readonly string[]): Promise<Pair> {
    const create = (side: Side, encoding: string): Promise<SideDatabase> => server.createSide(side, `ENCODING '${encoding}' LOCALE 'C'`);
    const databases = { central: await create('central', centralEncoding), edge: await create('edge', edgeEncoding) };
    await run(
      databases.central.ownerUrl,
      `CREATE TABLE devices (mac text PRIMARY KEY); INSERT INTO devices VALUES ('${MAC}'); ${tablesOf(words)}`,
    );
    const central = await Service.start('central-api', {
      DATABASE_URL: databases.central.serviceUrl,
      SYNC_PLAN: join(folder.path, 'plan.yaml'),
      SNAPSHOT_STORE: `file:${join(folder.path, databases.central.name, 'snapshots')}`,
    });
    const edge = await Service.start('edge-service', {
      DATABASE_URL: databases.edge.serviceUrl,
      CENTRAL_URL: central.url,
      DEVICE_MAC: MAC,
      SYNC_INTERVAL: '0',
      DOWNLOAD_DIR: join(folder.path, databases.edge.name, 'downloads'),
    });
    return new Pair(databases, central, edge);
  }

  async sync(body?: object): Promise<{ status: string | number; code?: string; detail?: string }> {
    const { body: answer } = await post<{ status: string; code?: string; detail?: string }>(`${this.edge.url}/api/sync/now`, body);
    const { status, code, detail } = answer;
    return code === undefined ? { status } : { status, code, ...(detail === undefined ? {} : { detail }) };
  }

  async expectEqualContents(): Promise<void> {
    const { body } = await post<{ manifest: Manifest }>(`${this.central.url}/api/device-sync/request`, { mac: MAC });
    const { tables } = body.manifest;
    expect(await contentsOf(this.databases.edge.url, tables)).toEqual(await contentsOf(this.databases.central.url, tables));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.edge.end('SIGKILL');
    await this.central.end('SIGKILL');
  }
}

async function run(url: string, sql: string): Promise<void> {
  await withClient(url, async (client) => {
    await client.query("SET client_encoding = 'UTF8'");
    await client.query(sql);
  });
}

describe.each([
  ['KOI8R', 'UTF8', CYRILLIC],
  ['UTF8', 'KOI8R', CYRILLIC],
  ['WIN1251', 'KOI8R', CYRILLIC],
  ['WIN1252', 'LATIN9', WESTERN],
  ['SQL_ASCII', 'UTF8', WESTERN],
  ['EUC_JP', 'UTF8', JAPANESE],
] as const)('central in %s, the device in %s', (centralEncoding, edgeEncoding, words) => {
  test('texts arrive, are merged, and are found equal', async () => {
    await using pair = await Pair.start(centralEncoding, edgeEncoding, words);
    expect(await pair.sync()).toEqual({ status: 'Success' });
    await run(pair.databases.central.ownerUrl, CHANGE);
    expect(await pair.sync()).toEqual({ status: 'Success' });
    expect(await pair.sync({ verify: true })).toEqual({ status: 'Unchanged' });
    await pair.expectEqualContents();
  });
});

test('a character that the device’s encoding lacks refuses the sync, and says so', async () => {
  await using pair = await Pair.start('UTF8', 'LATIN9', WESTERN);
  expect(await pair.sync()).toEqual({ status: 'Success' });
  await run(pair.databases.central.ownerUrl, "INSERT INTO words VALUES ('日本', 9)");
  expect(await pair.sync()).toMatchObject({ code: 'LOAD_REFUSED', detail: expect.stringContaining('lacks a character') });
  await run(pair.databases.central.ownerUrl, "DELETE FROM words WHERE word = '日本'");
  expect(await pair.sync()).toMatchObject({ status: 'Unchanged' });
});

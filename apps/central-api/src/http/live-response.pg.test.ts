import { request, type IncomingMessage } from 'node:http';
import { once } from 'node:events';
import {
  ChunkIndexBuilder,
  type Preamble,
  INDEX_ENTRY_BYTES,
  LIVE_HEAD_BYTES,
  LIVE_STREAM_TYPE,
  type LiveRecordType,
  manifestSignatureSchema,
  openManifest,
  readLiveEntry,
  readLiveHead,
  sha256,
} from '@waypost/contracts';
import { decompress } from '@waypost/runtime';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { until } from '../../../../test/support/until.js';
import { installCapture } from '../../testing/capture.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import { SHOP_1, SHOP_1_TWIN, SHOP_PLAN, SHOP_SCHEMA } from '../../testing/shop.js';

/** Compresses to half of its 40 MB: more than central holds back for a receiver that takes nothing. */
const LARGE = `
  INSERT INTO accounts SELECT id, 1, (SELECT string_agg(md5(id::text || n), '') FROM generate_series(1, 32) AS n), 1 FROM generate_series(10001, 50000) AS id`;

let server: TestServer;
let central: OwnCentral;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());

afterEach(() => central?.[Symbol.asyncDispose]());

interface LiveRecord {
  type: LiveRecordType;
  content: Buffer;
}

/** A request that takes live streams; its answer is not read yet. */
async function ask(mac: string, body: object = {}): Promise<IncomingMessage> {
  const asked = request(`${central.url}/api/device-sync/request`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: `${LIVE_STREAM_TYPE}, application/json` },
  });
  asked.end(JSON.stringify({ mac, ...body }));
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  return answer;
}

async function read(answer: IncomingMessage): Promise<Buffer> {
  return Buffer.concat((await answer.toArray()) as Buffer[]);
}

async function recordsOf(answer: IncomingMessage): Promise<LiveRecord[]> {
  expect(answer.headers['content-type']).toBe(LIVE_STREAM_TYPE);
  const bytes = await read(answer);
  const records: LiveRecord[] = [];
  for (let at = 0; at < bytes.length;) {
    const { type, length } = readLiveHead(bytes.subarray(at));
    at += LIVE_HEAD_BYTES;
    records.push({ type, content: bytes.subarray(at, at + length) });
    at += length;
  }
  return records;
}

const jsonOf = (record: LiveRecord | undefined): unknown => JSON.parse(String(record?.content));

test('a first sync’s rows come with their manifest, and are what it says', async () => {
  central = await startOwnCentral({ server });
  const answer = await ask(SHOP_1);
  expect(answer.headers.date).toBeDefined();
  const records = await recordsOf(answer);
  const [first, last] = [records[0], records.at(-1)];
  expect([first?.type, records.at(-2)?.type, last?.type]).toEqual(['preamble', 'signature', 'manifest']);
  expect(manifestSignatureSchema.safeParse(jsonOf(records.at(-2))).success).toBe(true);
  const manifest = openManifest(jsonOf(last));
  const { tables, types, schemaVersion } = jsonOf(first) as Preamble;
  expect({ types, schemaVersion }).toEqual({ types: manifest.types, schemaVersion: 3 });
  expect(manifest.tables).toMatchObject(tables);

  let position = -1;
  const indexes = tables.map(({ format }) => new ChunkIndexBuilder(format));
  for (const { type, content } of records.slice(1, -1)) {
    if (type === 'table') position += 1;
    if (type !== 'chunk') continue;
    const entry = readLiveEntry(content, content.length);
    expect(sha256(decompress(content.subarray(INDEX_ENTRY_BYTES), entry.rawBytes))).toEqual(entry.digest);
    indexes[position]!.add(entry);
  }
  expect(indexes.map((index) => index.build().totals())).toMatchObject(
    manifest.tables.map(({ rowCount, rawBytes, sha256: hash }) => ({ rowCount, rawBytes, sha256: hash })),
  );
  expect(await central.manifestFor(SHOP_1)).toEqual(manifest);
  expect(await central.audit(1)).toMatchObject([{ status: 'Issued', manifest_id: manifest.manifestId }]);
  for (const { name } of manifest.tables) expect((await central.download(manifest, name)).status).toBe(200);
});

test('who holds something already, or does not take live streams, gets a manifest', async () => {
  central = await startOwnCentral({ server });
  const { manifestId, epoch, sequence } = await central.manifestFor(SHOP_1);
  const answer = await ask(SHOP_1, { have: { manifestId, epoch, sequence } });
  expect(answer.headers['content-type']).toMatch(/^application\/json/);
  expect(JSON.parse(String(await read(answer)))).toMatchObject({ manifest: { manifestId } });
});

test('what others have read already is for the store to give', async () => {
  const plan = SHOP_PLAN.replace('scope:', 'changes: triggers\nscope:');
  central = await startOwnCentral({ server, plan });
  await installCapture(central.databaseUrl, plan);
  const { tables } = await central.manifestFor(SHOP_1);
  const answer = await ask(SHOP_1_TWIN);
  expect(answer.headers['content-type']).toMatch(/^application\/json/);
  expect((JSON.parse(String(await read(answer))) as { manifest: unknown }).manifest).toMatchObject({ tables });
});

test('who asks together with a live one gets the same tables', async () => {
  central = await startOwnCentral({ server });
  const [records, twin] = await Promise.all([ask(SHOP_1).then(recordsOf), central.manifestFor(SHOP_1_TWIN)]);
  expect(openManifest(jsonOf(records.at(-1))).tables).toEqual(twin.tables);
});

test('a receiver that does not keep up delays no other: it gets its manifest, and the rest from the store', async () => {
  central = await startOwnCentral({ server, schema: `${SHOP_SCHEMA} ${LARGE}` });
  const answer = await ask(SHOP_1);
  const isIssued = async (): Promise<boolean> => (await central.audit(1)).some(({ status }) => status === 'Issued');
  await until(isIssued);
  const records = await recordsOf(answer);
  const manifest = openManifest(jsonOf(records.at(-1)));
  expect(records.filter(({ type }) => type === 'truncated')).toHaveLength(1);
  expect(records.findIndex(({ type }) => type === 'truncated')).toBe(records.length - 3);
  const received = records.reduce((total, { content }) => total + content.length, 0);
  const all = manifest.tables.reduce((total, { streamBytes }) => total + streamBytes, 0);
  expect(all).toBeGreaterThan(16 << 20);
  expect(received).toBeLessThan(all / 2);
  expect((await central.download(manifest, 'accounts')).body.length).toBe(manifest.tables[0]!.streamBytes);
});

test('a receiver that goes away ends what is read for it alone, and makes room for others', async () => {
  central = await startOwnCentral({ server, schema: `${SHOP_SCHEMA} ${LARGE}` });
  for (let round = 0; round < 5; round += 1) {
    const answer = await ask(SHOP_1);
    answer.on('error', () => undefined).destroy();
    await once(answer, 'close');
  }
  expect((await recordsOf(await ask(SHOP_1))).at(-1)?.type).toBe('manifest');
});

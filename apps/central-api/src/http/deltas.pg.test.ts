import {
  BorderKeys,
  ChunkIndex,
  decodeDeltaHeader,
  decodeSegments,
  DELTA_HEADER_BYTES,
  deltaPath,
  hasRows,
  type Manifest,
  type ManifestTable,
  type Problem,
  RowFramer,
  SEGMENT_ENTRY_BYTES,
  type SegmentEntry,
  sha256,
} from '@waypost/contracts';
import { decompress } from '@waypost/runtime';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { installCapture } from '../../testing/capture.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import { SnapshotSweeper } from '../maintenance/snapshot-sweeper.js';

const MACS = ['02:00:00:00:00:01', '02:00:00:00:00:02'] as const;
const ROWS = 20_000;
const SCHEMA = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY);
  INSERT INTO devices VALUES ('${MACS[0]}'), ('${MACS[1]}');
  CREATE TABLE items (id int PRIMARY KEY, v int NOT NULL, note text);
  INSERT INTO items SELECT g, g, md5(g::text) FROM generate_series(1, ${ROWS}) g;
  CREATE TABLE words (word text PRIMARY KEY, v int);
  INSERT INTO words SELECT md5(g::text), g FROM generate_series(1, 2000) g`;
const PLAN = `
version: 1
schemaVersion: 1
changes: triggers
scope:
  query: SELECT 1 AS one FROM devices WHERE mac = :mac
tables:
  - name: items
  - name: words
`;

let server: TestServer;
let central: OwnCentral;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());

beforeEach(async () => {
  central = await startOwnCentral({ server, schema: SCHEMA, plan: PLAN, env: { MAX_SHRINK: 'off' } });
  await installCapture(central.databaseUrl, PLAN);
});
afterEach(() => central?.[Symbol.asyncDispose]());

interface Answer {
  status: number;
  headers: Headers;
  body: Buffer;
}

async function getDelta(
  manifest: Manifest,
  base: string,
  headers = {},
  { table = 'items', mac = manifest.device.mac } = {},
): Promise<Answer> {
  const response = await fetch(`${central.url}${deltaPath(manifest.manifestId, table)}?mac=${mac}&base=${base}`, { headers });
  return { status: response.status, headers: response.headers, body: Buffer.from(await response.arrayBuffer()) };
}

const problemOf = ({ body }: Answer): Problem => JSON.parse(body.toString()) as Problem;
const tableOf = (manifest: Manifest, table = 'items'): ManifestTable => manifest.tables.find(({ name }) => name === table)!;

async function chunksOf(manifest: Manifest, table = 'items'): Promise<Buffer[]> {
  const { body } = await central.download(manifest, table);
  const index = ChunkIndex.decode(body.subarray(0, ChunkIndex.encodedBytes(body)));
  let at = ChunkIndex.encodedBytes(body);
  return [...index].map(({ frameBytes, rawBytes }) => decompress(body.subarray(at, (at += frameBytes)), rawBytes));
}

/** Rows by their key. */
type Rows = Map<string, Buffer>;

/** Rows of items, or of words. */
function rowsOf(bytes: Buffer, keyFields = [0]): Rows {
  const rows: Rows = new Map();
  const framer = new RowFramer({ fieldCount: bytes.length > 0 ? bytes.readUInt16BE(0) : 0, keyFields });
  for (let at = 0; at < bytes.length;) {
    const end = framer.frame(bytes, at);
    rows.set(framer.key(bytes).toString('latin1'), bytes.subarray(at, end));
    at = end;
  }
  return rows;
}

/** What a device has after it applied a delta. */
function apply(delta: Buffer, held: readonly Buffer[]): { rows: Rows; segments: SegmentEntry[]; frameBytes: number } {
  const { segmentCount, listBytes } = decodeDeltaHeader(delta);
  const frame = delta.subarray(DELTA_HEADER_BYTES, DELTA_HEADER_BYTES + listBytes);
  const list = segmentCount > 0 ? decompress(frame, segmentCount * SEGMENT_ENTRY_BYTES) : frame;
  const segments = decodeSegments(list, segmentCount);
  const before = rowsOf(Buffer.concat(held));
  const rows = new Map(before);
  let [chunk, at] = [0, DELTA_HEADER_BYTES + listBytes];
  const take = (length: number): Buffer => delta.subarray(at, (at += length));
  for (const segment of segments) {
    const { keptChunks, oldChunks, rawBytes, frameBytes, check, keysBytes, keysFrameBytes, oldCheck } = segment;
    chunk += keptChunks;
    let old = Buffer.concat(held.slice(chunk, chunk + oldChunks));
    chunk += oldChunks;
    if (hasRows(segment)) {
      const keys = keysBytes > 0 ? BorderKeys.decode(decompress(take(keysFrameBytes), keysBytes)) : undefined;
      old = Buffer.concat(Array.from({ length: keys?.length ?? 0 }, (_, place) => before.get(keys!.key(place).toString('latin1'))!));
      expect(sha256(old).subarray(0, oldCheck.length).equals(oldCheck)).toBe(true);
    }
    for (const key of rowsOf(old).keys()) rows.delete(key);
    if (rawBytes === 0) continue;
    const bytes = decompress(take(frameBytes), rawBytes, old.length > 0 ? old : undefined);
    expect(sha256(bytes).subarray(0, check.length).equals(check)).toBe(true);
    for (const [key, row] of rowsOf(bytes)) rows.set(key, row);
  }
  expect(at).toBe(delta.length);
  return { rows, segments, frameBytes: delta.length - DELTA_HEADER_BYTES - listBytes };
}

function expectRows(rows: Rows, chunks: readonly Buffer[]): void {
  const sorted = (of: Rows): [string, string][] => [...of].map(([key, row]) => [key, row.toString('hex')] as [string, string]).sort();
  expect(sorted(rows)).toEqual(sorted(rowsOf(Buffer.concat(chunks))));
}

test.each([
  ['one row', 'UPDATE items SET v = -1 WHERE id = 10000', 'rows', 150],
  [
    'rows that come, change and go',
    'DELETE FROM items WHERE id = 5; UPDATE items SET note = NULL WHERE id = 9000; INSERT INTO items VALUES (100000, 1, $$x$$)',
    'rows',
    200,
  ],
  ['a key', 'UPDATE items SET id = -5 WHERE id = 15000', 'rows', 200],
  ['a row that goes', 'DELETE FROM items WHERE id = 15000', 'rows', 100],
  ['rows of many chunks', 'UPDATE items SET v = -1 WHERE id % 20 = 0', 'rows', 12_000],
  ['many rows', 'DELETE FROM items WHERE id BETWEEN 3000 AND 9000', 'chunks', 300],
  ['half of all rows', 'DELETE FROM items WHERE id > 10000', 'chunks', 300],
])('%s: the delta makes the new table of the old one', async (_, sql, kind, bytes) => {
  const first = await central.manifestFor(MACS[0]);
  const held = await chunksOf(first);
  await central.sql(sql);
  const next = await central.poll(first);
  const { status, headers, body } = await getDelta(next, first.manifestId);
  expect([status, headers.get('content-type')]).toEqual([200, 'application/vnd.waypost.delta']);
  expect(decodeDeltaHeader(body)).toMatchObject({ format: 'binary', baseSha256: tableOf(first).sha256, sha256: tableOf(next).sha256 });
  const { rows, segments, frameBytes } = apply(body, held);
  expectRows(rows, await chunksOf(next));
  expect(segments).toHaveLength(1);
  expect(hasRows(segments[0]!)).toBe(kind === 'rows');
  expect(frameBytes).toBeLessThan(bytes);
  // From a state before the last one: the chunks of both are read.
  await central.sql('UPDATE items SET v = -2 WHERE id IN (77, 10001)');
  const last = await central.poll(next);
  const { body: ofBoth } = await getDelta(last, first.manifestId);
  const applied = apply(ofBoth, held);
  expectRows(applied.rows, await chunksOf(last));
  expect(applied.segments.some(hasRows)).toBe(true);
});

test('a table that has not changed: nothing is kept but the chunks', async () => {
  const first = await central.manifestFor(MACS[0]);
  await central.sql('UPDATE items SET v = -1 WHERE id = 10000');
  const next = await central.poll(first);
  const { body } = await getDelta(next, first.manifestId, {}, { table: 'words' });
  const held = await chunksOf(first, 'words');
  expectRows(apply(body, held).rows, await chunksOf(next, 'words'));
  expect(decodeDeltaHeader(body).segmentCount).toBe(0);
});

test('it is made once for all devices, and resumed like a chunk stream', async () => {
  const held = await Promise.all(MACS.map((mac) => central.manifestFor(mac)));
  await central.sql('UPDATE items SET v = -1 WHERE id % 500 = 0');
  const next = await Promise.all(held.map((manifest) => central.poll(manifest)));
  const answers = await Promise.all([0, 1, 0, 1].map((at) => getDelta(next[at]!, held[at]!.manifestId)));
  for (const { body } of answers) expect(body.equals(answers[0]!.body)).toBe(true);
  expect(await central.sql('SELECT count(*)::int FROM waypost.table_deltas')).toEqual([{ count: 1 }]);
  const { body: whole, headers } = answers[0]!;
  const etag = headers.get('etag')!;
  const rest = await getDelta(next[0]!, held[0]!.manifestId, { range: 'bytes=100-', 'if-range': etag });
  expect([rest.status, rest.headers.get('content-range')]).toEqual([206, `bytes 100-${whole.length - 1}/${whole.length}`]);
  expect(rest.body.equals(whole.subarray(100))).toBe(true);
  const other = await getDelta(next[0]!, held[0]!.manifestId, { range: 'bytes=100-', 'if-range': '"another"' });
  expect([other.status, other.body.length]).toEqual([200, whole.length]);
  const beyond = await getDelta(next[0]!, held[0]!.manifestId, { range: `bytes=${whole.length}-`, 'if-range': etag });
  expect([beyond.status, problemOf(beyond).code]).toEqual([416, 'RANGE_INVALID']);
});

test('a long one is stored in parts, and resumed anywhere', async () => {
  const first = await central.manifestFor(MACS[0]);
  const held = await chunksOf(first);
  await central.sql('UPDATE items SET note = md5(random()::text) WHERE id % 2 = 0');
  const next = await central.poll(first);
  const { body: whole, headers } = await getDelta(next, first.manifestId);
  expectRows(apply(whole, held).rows, await chunksOf(next));
  const parts = await central.sql<{ length: number }>('SELECT length(bytes) AS length FROM waypost.delta_parts');
  expect(parts.length).toBeGreaterThan(3);
  expect(Math.max(...parts.map(({ length }) => length))).toBe(64 << 10);
  const head = DELTA_HEADER_BYTES + decodeDeltaHeader(whole).listBytes;
  for (const from of [1, head - 1, head, head + 1, 65_535, 65_536, head + 65_536, head + 65_537, whole.length - 1]) {
    const rest = await getDelta(next, first.manifestId, { range: `bytes=${from}-`, 'if-range': headers.get('etag')! });
    expect([from, rest.status, rest.headers.get('content-length')]).toEqual([from, 206, String(whole.length - from)]);
    expect(rest.body.equals(whole.subarray(from))).toBe(true);
  }
  const { headers: ofHead } = await fetch(`${central.url}${deltaPath(next.manifestId, 'items')}?mac=${MACS[0]}&base=${first.manifestId}`, {
    method: 'HEAD',
  });
  expect([ofHead.get('etag'), ofHead.get('content-length')]).toEqual([headers.get('etag'), String(whole.length)]);
});

test('nothing is left of a delta that is not kept', async () => {
  const first = await central.manifestFor(MACS[0]);
  await central.sql('UPDATE items SET note = md5(random()::text) WHERE id % 2 = 0');
  const next = await central.poll(first);
  await central.sql(
    `INSERT INTO waypost.table_deltas (base_sha256, sha256, format, delta_id, head_bytes, bytes) VALUES ('another', $1, 'binary', 'x', 80, 64 << 20)`,
    [tableOf(next).sha256],
  );
  const answer = await getDelta(next, first.manifestId);
  expect([answer.status, problemOf(answer).detail]).toEqual([
    404,
    'There is no delta of items: as many deltas as are kept lead to it already.',
  ]);
  expect(await central.sql('SELECT FROM waypost.delta_parts')).toEqual([]);
});

test('parts of one that was never finished go once nobody makes it any more', async () => {
  await central.sql(`INSERT INTO waypost.delta_parts VALUES ('old', 0, '\\x00', now() - interval '1 day'), ('new', 0, '\\x00', now())`);
  await central.app.get(SnapshotSweeper).run(new AbortController().signal);
  expect(await central.sql('SELECT delta_id FROM waypost.delta_parts')).toEqual([{ delta_id: 'new' }]);
});

test('where there is none, the answer says why', async () => {
  const first = await central.manifestFor(MACS[0]);
  await central.sql('DELETE FROM items WHERE id > 10');
  const next = await central.poll(first);
  const longer = await getDelta(next, first.manifestId);
  expect([longer.status, problemOf(longer)]).toMatchObject([
    404,
    { code: 'DELTA_NONE', detail: 'There is no delta of items: what differs is no shorter than the table.' },
  ]);
  expect(problemOf(await getDelta(next, first.manifestId)).detail).toBe(problemOf(longer).detail);
  await central.sql('DELETE FROM waypost.table_contents WHERE sha256 = $1', [tableOf(first).sha256]);
  await central.sql('UPDATE items SET v = 0 WHERE id = 1');
  const last = await central.poll(next);
  expect(problemOf(await getDelta(last, first.manifestId)).detail).toBe(
    'There is no delta of items: what the device holds is not in the store any more.',
  );
  expect((await getDelta(last, next.manifestId)).status).toBe(200);
});

test('a device names manifests of its own', async () => {
  const [mine, theirs] = [await central.manifestFor(MACS[0]), await central.manifestFor(MACS[1])];
  const answers = [
    await getDelta(mine, theirs.manifestId),
    await getDelta(mine, mine.manifestId, {}, { mac: MACS[1] }),
    await getDelta(mine, '01ARZ3NDEKTSV4RRFFQ69G5FAV'),
    await getDelta(mine, 'nothing'),
    await getDelta(mine, mine.manifestId, {}, { table: 'none' }),
  ];
  expect(answers.map((answer) => problemOf(answer).code)).toEqual([
    'MANIFEST_NOT_YOURS',
    'MANIFEST_NOT_YOURS',
    'MANIFEST_UNKNOWN',
    'MANIFEST_UNKNOWN',
    'TABLE_NOT_IN_MANIFEST',
  ]);
});

test('deltas go with the contents that they lead to', async () => {
  const first = await central.manifestFor(MACS[0]);
  await central.sql('UPDATE items SET v = -1 WHERE id = 10000');
  const next = await central.poll(first);
  await getDelta(next, first.manifestId);
  await central.sql('DELETE FROM waypost.table_contents WHERE sha256 = $1', [tableOf(next).sha256]);
  await central.app.get(SnapshotSweeper).run(new AbortController().signal);
  expect(await central.sql('SELECT FROM waypost.table_deltas')).toEqual([]);
  expect(await central.sql('SELECT FROM waypost.delta_parts')).toEqual([]);
  expect(await central.poll(next)).toMatchObject({ tables: next.tables });
});

describe('with its manifest a device gets short deltas from the manifest that it holds', () => {
  const have = ({ epoch, sequence, manifestId }: Manifest) => ({ epoch, sequence, manifestId });

  async function ask(
    message: object,
    headers: Record<string, string> = {},
  ): Promise<{ manifest: Manifest; deltas?: Record<string, string> }> {
    const response = await fetch(`${central.url}/api/device-sync/request`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(message),
    });
    expect(response.status).toBe(200);
    return (await response.json()) as { manifest: Manifest; deltas?: Record<string, string> };
  }

  test('the one that it can also ask for', async () => {
    const base = await central.manifestFor(MACS[0]);
    await central.sql('UPDATE items SET v = 0 WHERE id = 17');
    const { manifest, deltas } = await ask({ mac: MACS[0], have: have(base), encloseDeltas: 4096 });
    const asked = await getDelta(manifest, base.manifestId);
    expect(deltas).toEqual({ items: asked.body.toString('base64') });
    // It is told again, where the answer was lost.
    expect((await ask({ mac: MACS[0], have: have(base), encloseDeltas: 4096 })).deltas).toEqual(deltas);
  });

  test.each([
    ['does not ask for them', {}],
    ['takes none', { encloseDeltas: 0 }],
    ['takes shorter ones only', { encloseDeltas: 100 }],
  ])('not one that %s', async (_, more) => {
    const base = await central.manifestFor(MACS[0]);
    await central.sql('UPDATE items SET v = 0 WHERE id = 17');
    expect(await ask({ mac: MACS[0], have: have(base), ...more })).not.toHaveProperty('deltas');
  });

  test('not from the manifest of another device, nor from one that is unknown', async () => {
    const other = await central.manifestFor(MACS[1]);
    await central.manifestFor(MACS[0]);
    await central.sql('UPDATE items SET v = 0 WHERE id = 17');
    for (const manifestId of [other.manifestId, '01ARZ3NDEKTSV4RRFFQ69G5FAV'])
      expect(await ask({ mac: MACS[0], have: { ...have(other), manifestId }, encloseDeltas: 4096 })).not.toHaveProperty('deltas');
  });

  test('not a long one, whatever the device takes', async () => {
    const base = await central.manifestFor(MACS[0]);
    await central.sql('UPDATE items SET note = md5(random()::text) WHERE id % 10 = 0');
    expect(await ask({ mac: MACS[0], have: have(base), encloseDeltas: 1e9 })).not.toHaveProperty('deltas');
  });

  test.each(['zstd', 'gzip'])('an answer is compressed as %s where the device takes that', async (encoding) => {
    const plain = await ask({ mac: MACS[0] });
    const response = await fetch(`${central.url}/api/device-sync/request`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'accept-encoding': encoding },
      body: JSON.stringify({ mac: MACS[0] }),
    });
    expect(response.headers.get('content-encoding')).toBe(encoding);
    expect(Number(response.headers.get('content-length'))).toBeLessThan(JSON.stringify(plain).length);
    expect(await response.json()).toEqual(plain);
  });
});

import { randomInt } from 'node:crypto';
import {
  ChunkIndex,
  contentDigest,
  decodeDeltaHeader,
  decodeSegments,
  DELTA_HEADER_BYTES,
  deltaPath,
  type Manifest,
  type ManifestTable,
  MAX_NAMED_CHUNKS,
  nameChunks,
  type Problem,
  SEGMENT_ENTRY_BYTES,
  sha256,
  tableSha256,
} from '@waypost/contracts';
import { decompress } from '@waypost/runtime';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { installCapture } from '../../testing/capture.js';
import { DownloadLimiter } from '../admission/download-limiter.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';

/** Central has lost what the device holds, in all of these. */

const MACS = ['02:00:00:00:00:01', '02:00:00:00:00:02'] as const;
const ROWS = 20_000;
const SCHEMA = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY);
  INSERT INTO devices VALUES ('${MACS[0]}'), ('${MACS[1]}');
  CREATE TABLE items (id int PRIMARY KEY, v int NOT NULL, note text);
  INSERT INTO items SELECT g, g, md5(g::text) FROM generate_series(1, ${ROWS}) g`;
const PLAN = `
version: 1
schemaVersion: 1
changes: triggers
scope:
  query: SELECT 1 AS one FROM devices WHERE mac = :mac
tables:
  - name: items
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

/** What a device holds. */
interface Held {
  index: ChunkIndex;
  chunks: Buffer[];
}

const tableOf = (manifest: Manifest): ManifestTable => manifest.tables[0]!;
const problemOf = ({ body }: Answer): Problem => JSON.parse(body.toString()) as Problem;
const messageOf = ({ index }: Held): object => ({ sha256: index.totals().sha256, digests: nameChunks(index).toString('base64') });

async function post(manifest: Manifest, body: object | string, headers = {}, mac = manifest.device.mac): Promise<Answer> {
  const response = await fetch(`${central.url}${deltaPath(manifest.manifestId, 'items')}?mac=${mac}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  return { status: response.status, headers: response.headers, body: Buffer.from(await response.arrayBuffer()) };
}

async function download(manifest: Manifest): Promise<Held & { frames: Buffer[] }> {
  const { body } = await central.download(manifest, 'items');
  let at = ChunkIndex.encodedBytes(body);
  const index = ChunkIndex.decode(body.subarray(0, at));
  const frames = [...index].map(({ frameBytes }) => body.subarray(at, (at += frameBytes)));
  return { index, frames, chunks: frames.map((frame, chunk) => decompress(frame, index.entry(chunk).rawBytes)) };
}

/** Changes central's rows; what the device holds is not in the store any more. */
async function changeAndLose(held: Manifest, sql: string): Promise<Manifest> {
  await central.sql(sql);
  const next = await central.poll(held);
  await central.sql('DELETE FROM waypost.table_contents WHERE sha256 <> $1', [tableOf(next).sha256]);
  return next;
}

/** What a device has after it applied a delta to what it held, and the frames that came. */
function apply(delta: Buffer, { chunks }: Held): { chunks: Buffer[]; frames: Buffer[] } {
  const { segmentCount, listBytes } = decodeDeltaHeader(delta);
  let at = DELTA_HEADER_BYTES + listBytes;
  const segments = decodeSegments(decompress(delta.subarray(DELTA_HEADER_BYTES, at), segmentCount * SEGMENT_ENTRY_BYTES), segmentCount);
  const [result, frames]: [Buffer[], Buffer[]] = [[], []];
  let place = 0;
  for (const { keptChunks, oldChunks, newChunks, rawBytes, frameBytes, check } of segments) {
    expect([oldChunks <= 1, newChunks <= 1]).toEqual([true, true]);
    result.push(...chunks.slice(place, place + keptChunks));
    const old = chunks[place + keptChunks];
    place += keptChunks + oldChunks;
    if (newChunks === 0) continue;
    const frame = delta.subarray(at, (at += frameBytes));
    // As any segment's frame is opened.
    const bytes = decompress(frame, rawBytes, oldChunks > 0 ? old : undefined);
    expect(sha256(bytes).subarray(0, check.length).equals(check)).toBe(true);
    result.push(bytes);
    frames.push(frame);
  }
  expect(at).toBe(delta.length);
  return { chunks: [...result, ...chunks.slice(place)], frames };
}

test.each([
  ['one row', 'UPDATE items SET v = -1 WHERE id = 10000'],
  ['rows here and there', 'UPDATE items SET v = -1 WHERE id % 2000 = 0'],
  ['rows that go, borders among them', 'DELETE FROM items WHERE id BETWEEN 3000 AND 9000'],
  ['rows that come', 'INSERT INTO items SELECT g, g, md5(g::text) FROM generate_series(-5000, 0) g'],
  ['rows that move', 'UPDATE items SET id = id + 100000 WHERE id < 2000'],
])('%s: the chunks that differ, as they are stored, make the table', async (_, sql) => {
  const first = await central.manifestFor(MACS[0]);
  const held = await download(first);
  const next = await changeAndLose(first, sql);
  const answer = await post(next, messageOf(held));
  expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'application/vnd.waypost.delta']);
  expect(decodeDeltaHeader(answer.body)).toMatchObject({
    format: 'binary',
    baseSha256: tableOf(first).sha256,
    sha256: tableOf(next).sha256,
  });
  const now = await download(next);
  const { chunks, frames } = apply(answer.body, held);
  expect(tableSha256(chunks.map(sha256))).toBe(tableOf(next).sha256);
  const differing = now.frames.filter((_frame, at) => !held.chunks.some((chunk) => chunk.equals(now.chunks[at]!)));
  expect(frames).toEqual(differing);
});

test('it is resumed at each byte by the same question, and only by that', async () => {
  const first = await central.manifestFor(MACS[0]);
  const held = await download(first);
  const next = await changeAndLose(first, 'UPDATE items SET v = -1 WHERE id % 4000 = 0');
  const { body: whole, headers } = await post(next, messageOf(held));
  const etag = headers.get('etag')!;
  const head = DELTA_HEADER_BYTES + decodeDeltaHeader(whole).listBytes;
  const { frames } = apply(whole, held);
  for (const from of [1, head - 1, head, head + 1, head + frames[0]!.length - 1, head + frames[0]!.length, whole.length - 1]) {
    const rest = await post(next, messageOf(held), { range: `bytes=${from}-`, 'if-range': etag });
    expect([from, rest.status, rest.headers.get('content-range')]).toEqual([
      from,
      206,
      `bytes ${from}-${whole.length - 1}/${whole.length}`,
    ]);
    expect(rest.body.equals(whole.subarray(from))).toBe(true);
  }
  const other = { ...messageOf(held), digests: nameChunks(held.index).subarray(8).toString('base64') };
  expect((await post(next, other, { range: 'bytes=100-', 'if-range': etag })).status).toBe(200);
  const beyond = await post(next, messageOf(held), { range: `bytes=${whole.length}-`, 'if-range': etag });
  expect([beyond.status, problemOf(beyond).code]).toEqual([416, 'RANGE_INVALID']);
});

test('where nothing or little of it is held, the table itself is the answer', async () => {
  const manifest = await central.manifestFor(MACS[0]);
  for (const digests of [Buffer.alloc(0), Buffer.alloc(80, 7)]) {
    const answer = await post(manifest, { sha256: 'a'.repeat(64), digests: digests.toString('base64') });
    expect([answer.status, problemOf(answer).code]).toEqual([404, 'DELTA_NONE']);
  }
});

test('names in any order, or twice, give a delta that is one', async () => {
  const manifest = await central.manifestFor(MACS[0]);
  const held = await download(manifest);
  const names = nameChunks(held.index);
  const half = names.subarray(0, (names.length >> 4) * 8);
  const reversed = Buffer.concat(
    Array.from({ length: names.length / 8 }, (_, at) => names.subarray(names.length - 8 * (at + 1)).subarray(0, 8)),
  );
  for (const digests of [Buffer.concat([half, half, half]), Buffer.concat([half, reversed])]) {
    const answer = await post(manifest, { sha256: 'a'.repeat(64), digests: digests.toString('base64') });
    expect(answer.status).toBe(200);
    const { segmentCount, listBytes } = decodeDeltaHeader(answer.body);
    const list = decompress(answer.body.subarray(DELTA_HEADER_BYTES, DELTA_HEADER_BYTES + listBytes), segmentCount * SEGMENT_ENTRY_BYTES);
    const segments = decodeSegments(list, segmentCount);
    expect(segments.reduce((sum, { frameBytes }) => sum + frameBytes, DELTA_HEADER_BYTES + listBytes)).toBe(answer.body.length);
    expect(segments.reduce((sum, { keptChunks, oldChunks }) => sum + keptChunks + oldChunks, 0)).toBeLessThanOrEqual(digests.length / 8);
  }
});

test('what is no list of chunks is refused, and a device gets nothing of another one', async () => {
  const [mine, theirs] = [await central.manifestFor(MACS[0]), await central.manifestFor(MACS[1])];
  const hash = 'a'.repeat(64);
  const bodies: (object | string)[] = [
    { sha256: hash, digests: 'not base64!' },
    { sha256: hash, digests: Buffer.alloc(9).toString('base64') },
    { sha256: hash, digests: `${Buffer.alloc(8).toString('base64').slice(0, -1)}` },
    { sha256: hash, digests: 7 },
    { sha256: 'x', digests: '' },
    { digests: '' },
    {},
    '[]',
    '"text"',
  ];
  for (const body of bodies) {
    const answer = await post(mine, body);
    expect([body, answer.status, problemOf(answer).code]).toEqual([body, 400, 'REQUEST_INVALID']);
  }
  const message = { sha256: hash, digests: '' };
  const others = [
    await post(mine, '{'),
    await post(mine, message, { 'content-digest': contentDigest('other') }),
    await post(mine, message, { 'content-type': 'text/plain' }),
    await post(theirs, message, {}, MACS[0]),
    await post({ ...mine, manifestId: '01ARZ3NDEKTSV4RRFFQ69G5FAV' }, message),
  ];
  expect(others.map((answer) => [answer.status, problemOf(answer).code])).toEqual([
    [400, 'REQUEST_NOT_JSON'],
    [400, 'REQUEST_CORRUPT'],
    [415, 'MEDIA_TYPE_UNSUPPORTED'],
    [403, 'MANIFEST_NOT_YOURS'],
    [404, 'MANIFEST_UNKNOWN'],
  ]);
});

test('as many chunks as may be named are taken, and no longer body', async () => {
  const manifest = await central.manifestFor(MACS[0]);
  const named = (chunks: number): object => ({ sha256: 'a'.repeat(64), digests: Buffer.alloc(chunks * 8).toString('base64') });
  const answers = [
    await post(manifest, named(MAX_NAMED_CHUNKS)),
    await post(manifest, named(MAX_NAMED_CHUNKS + 1)),
    await post(manifest, named(100_000)),
  ];
  expect(answers.map((answer) => [answer.status, problemOf(answer).code])).toEqual([
    [404, 'DELTA_NONE'],
    [400, 'REQUEST_INVALID'],
    [413, 'REQUEST_TOO_LARGE'],
  ]);
  const long = await fetch(`${central.url}/api/device-sync/request`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ mac: MACS[0], more: 'x'.repeat(600_000) }),
  });
  expect(long.status).toBe(413);
});

test('a table that the store has lost is built again', async () => {
  const first = await central.manifestFor(MACS[0]);
  const held = await download(first);
  const next = await changeAndLose(first, 'UPDATE items SET v = -1 WHERE id = 10000');
  await central.sql('DELETE FROM waypost.table_contents');
  const answer = await post(next, messageOf(held));
  expect([answer.status, problemOf(answer).code]).toEqual([410, 'SNAPSHOT_MISSING']);
  const again = await central.poll(next);
  expect((await post(again, messageOf(held))).status).toBe(200);
});

test('random histories: what the device makes of it is the table, bit for bit', async () => {
  let manifest = await central.manifestFor(MACS[0]);
  for (let round = 0; round < 8; round += 1) {
    const held = await download(manifest);
    const [from, length] = [randomInt(ROWS), randomInt(1, 900)];
    const range = `id BETWEEN ${from} AND ${from + length}`;
    const changes = [
      `UPDATE items SET v = v + 1 WHERE id % ${randomInt(500, 3000)} = 0`,
      `DELETE FROM items WHERE ${range}`,
      `INSERT INTO items SELECT g, ${round}, 'new' FROM generate_series(${from}, ${from + length}) g ON CONFLICT DO NOTHING`,
      `UPDATE items SET note = ${round} WHERE ${range}`,
      `UPDATE items SET id = -id - ${100_000 * (round + 1)} WHERE ${range} AND id > 0`,
    ];
    const chosen = changes.filter(() => randomInt(2) === 1);
    const next = await changeAndLose(manifest, [`UPDATE items SET v = v + 1 WHERE id = (SELECT min(id) FROM items)`, ...chosen].join('; '));
    const { status, body } = await post(next, messageOf(held));
    expect([chosen, status]).toEqual([chosen, 200]);
    expect(Buffer.concat(apply(body, held).chunks).equals(Buffer.concat((await download(next)).chunks))).toBe(true);
    manifest = next;
  }
});

test('it is a download: it waits for its place', async () => {
  await using busy = await startOwnCentral({ server, schema: SCHEMA, plan: PLAN, env: { MAX_DOWNLOADS: '1' } });
  const manifest = await busy.manifestFor(MACS[0]);
  const release = busy.app.get(DownloadLimiter).take(MACS[1], () => undefined);
  const ask = async (): Promise<unknown> => {
    const body = JSON.stringify({ sha256: 'a'.repeat(64), digests: '' });
    const headers = { 'content-type': 'application/json' };
    const path = `${deltaPath(manifest.manifestId, 'items')}?mac=${MACS[0]}`;
    const response = await fetch(`${busy.url}${path}`, { method: 'POST', headers, body });
    return ((await response.json()) as Problem).code;
  };
  expect(await ask()).toBe('CENTRAL_BUSY');
  release();
  expect(await ask()).toBe('DELTA_NONE');
});

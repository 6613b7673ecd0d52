import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Manifest } from '@waypost/contracts';
import { jest } from '@jest/globals';
import { compress, decompress } from '@waypost/runtime';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { installCapture } from '../../testing/capture.js';
import { readTable } from '../../testing/chunk-streams.js';
import { failureOf } from '../../testing/messages.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import type { ChunkCatalog } from './chunk-catalog.js';
import { PackStore } from './pack-store.js';

/** Chunks whose frames are as they were written, and hold other rows than their digests name: checksums do not tell. */

const MAC = '02:00:00:00:00:01';
const SCHEMA = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY);
  INSERT INTO devices VALUES ('${MAC}');
  CREATE TABLE items (id int PRIMARY KEY, body text NOT NULL);
  INSERT INTO items SELECT g, md5(g::text) || md5('x' || g) FROM generate_series(1, 20000) AS g`;
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
let losses: jest.Spied<ChunkCatalog['forgetChunk']>;

beforeAll(async () => {
  server = await startTestServer();
});
afterEach(() => central?.[Symbol.asyncDispose]());
afterAll(() => server?.[Symbol.asyncDispose]());

beforeEach(async () => {
  central = await startOwnCentral({ server, schema: SCHEMA, plan: PLAN });
  losses = jest.spyOn(central.app.get(PackStore).parts.catalog, 'forgetChunk');
  await installCapture(central.databaseUrl, PLAN);
});

/** A frame of the same length that holds other rows. */
function otherFrame(frame: Buffer, rawBytes: number): Buffer {
  const raw = decompress(frame, rawBytes);
  for (let at = 0; at < raw.length; at += 1) {
    const altered = Buffer.from(raw);
    altered.writeUInt8(raw.readUInt8(at) ^ 1, at);
    const other = compress(altered);
    if (other.length === frame.length) return other;
  }
  throw new Error('no frame of this length');
}

/** @param chunks their places among the stored ones, in the order of the key */
async function damage(chunks: readonly number[]): Promise<void> {
  type Place = { pack_id: string; start: number; frame_bytes: number; raw_bytes: number };
  const places = await central.sql<Place>('SELECT pack_id, start, frame_bytes, raw_bytes FROM waypost.chunks ORDER BY start');
  for (const { pack_id, start, frame_bytes, raw_bytes } of chunks.map((at) => places[at]!)) {
    const pack = await open(join(central.store, 'packs', `${pack_id}.pack`), 'r+');
    try {
      const frame = Buffer.alloc(frame_bytes);
      await pack.read(frame, 0, frame_bytes, start);
      const other = otherFrame(frame, raw_bytes);
      await pack.write(other, 0, frame_bytes, start);
      await central.sql('UPDATE waypost.chunks SET crc32 = $1 WHERE pack_id = $2 AND start = $3', [crc32(other), pack_id, start]);
    } finally {
      await pack.close();
    }
  }
}

/** @throws where a chunk has another digest than its index says */
async function download(manifest: Manifest): Promise<void> {
  readTable((await central.download(manifest, 'items')).body);
}

test('a chunk that a rebuild finds damaged is stored again when its rows are read next', async () => {
  const first = await central.manifestFor(MAC);
  await damage([3]);
  await expect(download(first)).rejects.toThrow('another digest');
  // A row of each of the first chunks, so that the damaged one is among those that are read.
  const change = (to: string): Promise<unknown> => central.sql(`UPDATE items SET body = ${to} WHERE id % 100 = 0 AND id <= 2500`);
  await change("'x' || substr(body, 2)");
  const second = await central.poll(first);
  await download(second);
  expect(losses).toHaveBeenCalledTimes(1);
  await change("substr(md5(id::text) || md5('x' || id), 1)");
  const third = await central.poll(second);
  expect(third.tables).toEqual(first.tables);
  await download(third);
});

test('chunks that a device found damaged are stored again when it asks next', async () => {
  const manifest = await central.manifestFor(MAC);
  await damage([0, 3, 4]);
  await expect(download(manifest)).rejects.toThrow('another digest');
  await central.acknowledge(failureOf(manifest, 'CHUNK_CORRUPT: a chunk is not the one that its index names'));
  const again = await central.manifestFor(MAC);
  expect(again.tables).toEqual(manifest.tables);
  await download(again);
  expect(losses).toHaveBeenCalledTimes(3);
});

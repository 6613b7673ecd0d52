import fc from 'fast-check';
import type { ChunkIndex } from './chunk-stream.js';
import { ChunkIndexBuilder } from './chunk-stream.js';
import { sha256, tableSha256 } from './hashes.js';
import { matchChunks, MAX_NAMED_BODY_BYTES, MAX_NAMED_CHUNKS, NAMED_DIGEST_BYTES, nameChunks, namedChunksSchema } from './named-chunks.js';

/** A table whose chunks are numbers: equal numbers are equal chunks. */
function indexOf(chunks: readonly number[]): ChunkIndex {
  const index = new ChunkIndexBuilder('binary');
  for (const chunk of chunks) index.add({ digest: digestOf(chunk), rowCount: 1, rawBytes: 10 + chunk, frameBytes: 5 + chunk });
  return index.build();
}

const digestOf = (chunk: number): Buffer => sha256(Buffer.from(String(chunk)));

/** What a device has after it put the chunks that came in the place of its own. */
function apply(held: readonly number[], to: ChunkIndex): { digests: Buffer[]; came: number } {
  const { segments, chunks } = matchChunks(nameChunks(indexOf(held)), to);
  const coming = [...chunks];
  const digests: Buffer[] = [];
  let place = 0;
  for (const { keptChunks, oldChunks, newChunks, rawBytes, frameBytes, check } of segments) {
    digests.push(...held.slice(place, place + keptChunks).map(digestOf));
    place += keptChunks + oldChunks;
    const entry = newChunks > 0 ? coming.shift() : undefined;
    if (entry) digests.push(entry.digest);
    expect([oldChunks <= 1, newChunks <= 1, oldChunks + newChunks > 0]).toEqual([true, true, true]);
    expect([rawBytes, frameBytes]).toEqual([entry?.rawBytes ?? 0, entry?.frameBytes ?? 0]);
    expect(check.equals((entry?.digest ?? sha256(Buffer.alloc(0))).subarray(0, 8))).toBe(true);
  }
  expect(place).toBeLessThanOrEqual(held.length);
  return { digests: [...digests, ...held.slice(place).map(digestOf)], came: chunks.length };
}

const ascending = fc.uniqueArray(fc.nat(60)).map((chunks) => chunks.sort((one, other) => one - other));

test('of two states in key order, only the chunks that are in one of them come or go', () => {
  fc.assert(
    fc.property(ascending, ascending, (held, now) => {
      const { digests, came } = apply(held, indexOf(now));
      expect(tableSha256(digests)).toBe(indexOf(now).totals().sha256);
      expect(came).toBe(now.filter((chunk) => !held.includes(chunk)).length);
    }),
    { numRuns: 2000 },
  );
});

test('whatever is named, in any order and more than once, leads to the table', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20)), ascending, (held, now) => {
      expect(tableSha256(apply(held, indexOf(now)).digests)).toBe(indexOf(now).totals().sha256);
    }),
    { numRuns: 2000 },
  );
});

test('a table that is held has no segments', () => {
  const index = indexOf([1, 2, 3]);
  expect(matchChunks(nameChunks(index), index)).toMatchObject({ segments: [] });
});

const message = (digests: unknown): unknown => ({ sha256: 'a'.repeat(64), digests });

test('names come in base64, and as many as are allowed fit into a body', () => {
  const names = Buffer.alloc(MAX_NAMED_CHUNKS * NAMED_DIGEST_BYTES, 'named');
  const body = message(names.toString('base64'));
  expect(namedChunksSchema.parse(body).digests.equals(names)).toBe(true);
  expect(JSON.stringify(body).length).toBeLessThan(MAX_NAMED_BODY_BYTES);
});

test.each([
  ['not base64', '!!!!!!!!!!!='],
  ['of another length', Buffer.alloc(12).toString('base64')],
  ['in base64url', Buffer.alloc(8, 0xff).toString('base64url')],
  ['without padding', Buffer.alloc(8).toString('base64').replace('=', '')],
  ['with more behind', `${Buffer.alloc(8).toString('base64')}\n`],
  ['too many', Buffer.alloc((MAX_NAMED_CHUNKS + 1) * NAMED_DIGEST_BYTES).toString('base64')],
  ['no text', 8],
])('names that are %s are refused', (_, digests) => {
  expect(namedChunksSchema.safeParse(message(digests)).success).toBe(false);
});

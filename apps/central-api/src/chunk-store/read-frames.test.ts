import { randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { ChunkIndexBuilder, sha256 } from '@waypost/contracts';
import { type FramePosition, locatorOf, readFrames } from './read-frames.js';

const SHORT = randomBytes(1000);
const LONG = randomBytes((3 << 20) + 17);
const FRAMES = [SHORT, LONG, SHORT];
const BEGIN: FramePosition = { at: 0, skip: 0 };

/** A pack with a long frame between two short ones. @param pack what lies there */
function storeOf(pack: Buffer = Buffer.concat(FRAMES)) {
  const builder = new ChunkIndexBuilder('binary');
  let start = 0;
  const places = FRAMES.map((frame, at) => {
    builder.add({ digest: sha256(Buffer.from([at])), rowCount: 1, rawBytes: 1, frameBytes: frame.length });
    const place = { at, packId: 'a', start, frameBytes: frame.length, rawBytes: 1, crc32: crc32(frame) };
    start += frame.length;
    return place;
  });
  let longestRead = 0;
  const read = async (from: number, length: number): Promise<Buffer> => {
    longestRead = Math.max(longestRead, length);
    return Promise.resolve(Buffer.from(pack.subarray(from, from + length)));
  };
  const index = builder.build();
  const locate = async (digests: Buffer) => Promise.resolve(places.slice(-digests.length / 32).map((place, at) => ({ ...place, at })));
  const source = {
    openPack: async () => Promise.resolve({ read, close: () => Promise.resolve() }),
    locate: locatorOf({ locate }, index),
  };
  const bytesFrom = async (from: FramePosition): Promise<Buffer> => {
    const pieces: Buffer[] = [];
    for await (const piece of readFrames(source, from)) pieces.push(piece);
    return Buffer.concat(pieces);
  };
  return { bytesFrom, longestRead: () => longestRead };
}

test('a long frame is read in pieces', async () => {
  const { bytesFrom, longestRead } = storeOf();
  expect((await bytesFrom(BEGIN)).equals(Buffer.concat(FRAMES))).toBe(true);
  expect(longestRead()).toBeLessThanOrEqual(64 << 10);
});

test('a range may start inside a long frame', async () => {
  const { bytesFrom } = storeOf();
  const skip = (2 << 20) + 5;
  expect((await bytesFrom({ at: 1, skip })).equals(Buffer.concat(FRAMES).subarray(SHORT.length + skip))).toBe(true);
});

test.each([
  [
    'damaged',
    (pack: Buffer) =>
      Buffer.concat([pack.subarray(0, -SHORT.length - 1), Buffer.from([(pack.at(-SHORT.length - 1) as number) ^ 1]), SHORT]),
  ],
  ['cut', (pack: Buffer) => Buffer.from(pack.subarray(0, 2 << 20))],
])('nothing is given of a long frame that is %s', async (what, change) => {
  const { bytesFrom } = storeOf(change(Buffer.concat(FRAMES)));
  await expect(bytesFrom(BEGIN)).rejects.toThrow(what);
});

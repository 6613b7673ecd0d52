import { type ChunkEntry, sha256 } from '@waypost/contracts';
import { compress } from '@waypost/runtime';
import type { RawChunk, TableWriter } from '../chunk-store/snapshot-store.js';
import type { BuildObserver } from './build-observer.js';
import { ObservedStore } from './observed-store.js';

const chunkOf = (text: string): RawChunk => ({ bytes: Buffer.from(text), digest: sha256(Buffer.from(text)), rowCount: text.length });
const KNOWN = chunkOf('known');
const NEW = chunkOf('new');
/** Of a frame that the store has, made by another version of zstd. */
const STORED_LENGTH = 7;

/** Stores what it does not know, and overwrites each frame as soon as it is written. */
function createWriter(): TableWriter & { framesGiven: boolean[] } {
  const framesGiven: boolean[] = [];
  return {
    framesGiven,
    put: async (chunks, onFrame) => {
      framesGiven.push(onFrame !== undefined);
      return chunks.map((chunk, at) => {
        if (chunk === KNOWN) return STORED_LENGTH;
        const frame = compress(chunk.bytes);
        onFrame?.(at, frame);
        return frame.fill(0).length;
      });
    },
    commit: async ({ index }) => index,
    abort: async () => undefined,
  };
}

function createObserver(wantsChunks: boolean) {
  const seen: (string | { entry: ChunkEntry; frame: Buffer })[] = [];
  const observer: BuildObserver = {
    wantsChunks,
    begin: () => void seen.push('begin'),
    table: () => void seen.push('table'),
    chunk: (entry, frame) => void seen.push({ entry, frame }),
  };
  return { observer, seen };
}

test('an observer sees each table and its chunks in order, whether the store had them or not', async () => {
  const writer = createWriter();
  const { observer, seen } = createObserver(true);
  const table = new ObservedStore({ create: () => writer }, observer).create();
  const lengths = await table.put([KNOWN, NEW]);
  expect(lengths).toEqual([STORED_LENGTH, compress(NEW.bytes).length]);
  const shown = [KNOWN, NEW].map(({ digest, bytes, rowCount }) => {
    const frame = compress(bytes);
    return { entry: { digest, rowCount, rawBytes: bytes.length, frameBytes: frame.length }, frame };
  });
  expect(seen).toEqual(['table', ...shown]);
});

test('no frame is kept for an observer that wants none', async () => {
  const writer = createWriter();
  const { observer, seen } = createObserver(false);
  const table = new ObservedStore({ create: () => writer }, observer).create();
  await table.put([KNOWN, NEW]);
  expect(seen).toEqual(['table']);
  expect(writer.framesGiven).toEqual([false]);
});

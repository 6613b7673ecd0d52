import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import type { BlobReader, BlobStore } from '../src/chunk-store/blobs/blob-store.js';

/** A backend under test, empty. */
export interface Backend extends AsyncDisposable {
  store: BlobStore;
  /** The same backend, as another process has it. */
  reopen: () => BlobStore;
}

const MEGABYTE = randomBytes(1 << 20);

/** What each backend of the chunk store must do. */
export function describeBlobStore(name: string, start: () => Promise<Backend>): void {
  describe(`the ${name} backend`, () => {
    let backend: Backend;
    let store: BlobStore;
    beforeEach(async () => {
      backend = await start();
      ({ store } = backend);
    });
    afterEach(() => backend[Symbol.asyncDispose]());

    const put = async (blob: string, ...pieces: Buffer[]): Promise<void> => {
      const writer = await store.create(blob);
      for (const piece of pieces) await writer.append([piece]);
      await writer.commit();
    };
    const open = async (blob: string): Promise<BlobReader> => {
      const reader = await store.open(blob);
      if (!reader) throw new Error(`there is no ${blob}`);
      return reader;
    };
    const readBytes = async (blob: string, start: number, length: number): Promise<Buffer> => {
      const reader = await open(blob);
      return reader.read(start, length).finally(() => reader.close());
    };
    const read = async (blob: string, start: number, length: number): Promise<string> =>
      (await readBytes(blob, start, length)).toString('latin1');
    const names = async (): Promise<string[]> => (await store.list()).map(({ name }) => name).toSorted();

    test('what is committed can be read, in any range, by others too', async () => {
      await put('packs/a', Buffer.from('hello '), Buffer.from('world'));
      expect(await read('packs/a', 0, 11)).toBe('hello world');
      expect(await read('packs/a', 4, 3)).toBe('o w');
      expect(await store.head('packs/a')).toBe(11);
      expect(await backend.reopen().head('packs/a')).toBe(11);
      expect(await store.list()).toEqual([{ name: 'packs/a', bytes: 11 }]);
    });

    test('a range past the end gives what there is', async () => {
      await put('packs/a', Buffer.from('hello'));
      expect(await read('packs/a', 3, 100)).toBe('lo');
      expect(await read('packs/a', 5, 1)).toBe('');
    });

    test('any range of a large blob is that of the bytes that were appended, however they were split', async () => {
      const writer = await store.create('packs/large');
      await writer.append(Array.from({ length: 2000 }, (_, at) => MEGABYTE.subarray(at, at + 1)));
      await writer.append([MEGABYTE.subarray(2000, 500_000), Buffer.alloc(0), MEGABYTE.subarray(500_000)]);
      await writer.commit();
      await fc.assert(
        fc.asyncProperty(fc.nat(MEGABYTE.length - 1), fc.integer({ min: 1, max: 200_000 }), async (start, length) => {
          const body = await readBytes('packs/large', start, length);
          expect(body.equals(MEGABYTE.subarray(start, start + length))).toBe(true);
        }),
        { numRuns: 30 },
      );
      const reader = await open('packs/large');
      for (const at of [900_000, 0, 500_000]) expect((await reader.read(at, 10)).equals(MEGABYTE.subarray(at, at + 10))).toBe(true);
      await reader.close();
    });

    test('before its commit a blob is not visible, only that one is being written', async () => {
      const writer = await store.create('packs/a');
      await writer.append([Buffer.from('hello')]);
      expect([await store.head('packs/a'), await store.open('packs/a'), await names()]).toEqual([undefined, undefined, []]);
      expect(await backend.reopen().listUnfinished()).toHaveLength(1);
      await writer.commit();
      expect(await names()).toEqual(['packs/a']);
      expect(await store.listUnfinished()).toEqual([]);
    });

    test('what is given up leaves nothing, however often it is given up', async () => {
      const writer = await store.create('packs/a');
      await writer.append([Buffer.from('hello')]);
      await writer.abort();
      await writer.abort();
      expect([await names(), await store.listUnfinished()]).toEqual([[], []]);
    });

    test('giving up after the commit takes nothing away', async () => {
      const writer = await store.create('packs/a');
      await writer.append([Buffer.from('hello')]);
      await writer.commit();
      await writer.abort();
      expect(await read('packs/a', 0, 5)).toBe('hello');
    });

    test('what a process that is gone was writing can be removed', async () => {
      const writer = await store.create('packs/a');
      await writer.append([Buffer.from('hello')]);
      for (const id of await store.listUnfinished()) await store.removeUnfinished(id);
      expect(await store.listUnfinished()).toEqual([]);
      await writer.abort();
      await store.removeUnfinished('unknown');
    });

    test('a blob that is removed is gone, also when it is removed again, and no other with it', async () => {
      await put('packs/a', Buffer.from('hello'));
      await put('packs/ab', Buffer.from('world'));
      await store.remove('packs/a');
      await store.remove('packs/a');
      await store.remove('elsewhere/a');
      expect([await names(), await store.head('packs/a'), await store.open('packs/a')]).toEqual([['packs/ab'], undefined, undefined]);
    });

    test('a blob that is removed while it is open is read to its end', async () => {
      await put('packs/a', MEGABYTE);
      const reader = await open('packs/a');
      await store.remove('packs/a');
      expect((await reader.read(0, MEGABYTE.length)).equals(MEGABYTE)).toBe(true);
      await reader.close();
    });

    test('several are written and read side by side', async () => {
      const all = Array.from({ length: 8 }, (_, at) => `packs/${at}`);
      await Promise.all(all.map((blob, at) => put(blob, MEGABYTE.subarray(at * 1000, at * 1000 + 500_000))));
      const bodies = await Promise.all(all.map((blob) => readBytes(blob, 10, 1000)));
      expect(bodies.every((body, at) => body.equals(MEGABYTE.subarray(at * 1000 + 10, at * 1000 + 1010)))).toBe(true);
      expect(await names()).toEqual(all);
    });

    test('an empty backend has nothing, and can be written to', async () => {
      expect([await store.list(), await store.listUnfinished(), await store.head('packs/a')]).toEqual([[], [], undefined]);
      await store.check();
      expect(await store.list()).toEqual([]);
      expect((await store.space()).freeBytes).toBeGreaterThan(0);
    });
  });
}

import { type ChunkEntry, type ChunkIndex, ChunkIndexBuilder, WaypostError } from '@waypost/contracts';
import { compress, faultPoint } from '@waypost/runtime';
import type { BlobStore } from './blobs/blob-store.js';
import { type ChunkCatalog, contentOf, type Pack } from './chunk-catalog.js';
import { packName, PackWriter } from './pack-writer.js';
import type { ChunkedTable, RawChunk, StoredBase, TableWriter } from './snapshot-store.js';

interface Target {
  blobs: BlobStore;
  catalog: ChunkCatalog;
  limitBytes: number;
  /** Whether a pack is there in full; it is forgotten otherwise. */
  isWhole: (packId: string) => Promise<boolean>;
  onPack: (bytes: number) => void;
  onContent: (table: ChunkedTable, indexSha256: Buffer) => void;
  /** The store has reached its limit. */
  onFull: () => void;
}

/** Stores a table's chunks: those that are known are counted on, the others are compressed and written. */
export class PackTableWriter implements TableWriter {
  private readonly out: PackWriter;
  private readonly wholePacks = new Map<string, Promise<boolean>>();
  /** Those that the table needs. */
  private readonly packs: Set<string>;
  /** Frames that another writer stored first, with another length than here. */
  private readonly otherLengths = new Map<string, number>();

  constructor(
    private readonly target: Target,
    base?: StoredBase,
  ) {
    this.packs = new Set(base?.packs);
    this.out = new PackWriter(target.blobs, (pack) => this.register(pack));
  }

  async put(chunks: readonly RawChunk[], onFrame?: (at: number, frame: Buffer) => void): Promise<number[]> {
    const known = await this.lookUp(chunks);
    const lengths: number[] = [];
    for (const [at, { digest, bytes }] of chunks.entries()) {
      const key = digest.toString('latin1');
      const stored = known.get(at) ?? this.out.frameBytesOf(key);
      if (stored !== undefined) {
        lengths.push(stored);
      } else {
        const frame = compress(bytes);
        lengths.push(frame.length);
        onFrame?.(at, frame);
        await this.out.add(key, bytes.length, frame);
      }
    }
    return lengths;
  }

  async commit({ index, borders }: ChunkedTable): Promise<ChunkIndex> {
    const finished = this.out.finish();
    finished.catch(() => undefined); // its error is thrown where it is awaited
    // While the pack is written to the disk: few builds meet another one that stored their chunks first.
    const likely = contentOf({ index, borders });
    await finished;
    await faultPoint('central.pack-known');
    const stored = this.otherLengths.size === 0 ? index : withLengths(index, this.otherLengths);
    const table = { index: stored, borders };
    const content = stored === index ? likely : contentOf(table);
    await this.target.catalog.addContent(content, [...this.packs]);
    this.target.onContent(table, content.indexSha256);
    await faultPoint('central.snapshot-stored');
    return stored;
  }

  async abort(): Promise<void> {
    await this.out.abort();
  }

  /** Lengths of the frames that are stored, and there. */
  private async lookUp(chunks: readonly RawChunk[]): Promise<Map<number, number>> {
    const known = await this.target.catalog.lookUp(Buffer.concat(chunks.map(({ digest }) => digest)));
    const lengths = new Map<number, number>();
    for (const { at, packId, frameBytes } of known) {
      let isWhole = this.wholePacks.get(packId);
      if (!isWhole) this.wholePacks.set(packId, (isWhole = this.target.isWhole(packId)));
      if (!(await isWhole)) continue;
      lengths.set(at, frameBytes);
      this.packs.add(packId);
    }
    return lengths;
  }

  private async register(pack: Pack): Promise<void> {
    await faultPoint('central.pack-stored');
    const { blobs, catalog, limitBytes, onPack, onFull } = this.target;
    const storedFirst = await catalog.addPack(pack, limitBytes);
    if (!storedFirst) {
      await blobs.remove(packName(pack.packId));
      onFull();
      throw new WaypostError('STORAGE_FAILED', {
        detail: `The snapshot store has reached SNAPSHOT_STORE_LIMIT (${limitBytes} bytes).`,
        hint: 'What no live manifest needs is removed now. If this lasts, raise SNAPSHOT_STORE_LIMIT, or lower MANIFEST_TTL.',
      });
    }
    onPack(pack.bytes);
    this.wholePacks.set(pack.packId, Promise.resolve(true));
    if (storedFirst.size < pack.chunks.size) this.packs.add(pack.packId);
    for (const [key, { packId, frameBytes }] of storedFirst) {
      this.packs.add(packId);
      if (frameBytes !== pack.chunks.get(key)?.frameBytes) this.otherLengths.set(key, frameBytes);
    }
  }
}

function withLengths(index: ChunkIndex, lengths: ReadonlyMap<string, number>): ChunkIndex {
  const changed = new ChunkIndexBuilder(index.format);
  for (const entry of index) changed.add(withLength(entry, lengths.get(entry.digest.toString('latin1'))));
  return changed.build();
}

function withLength(entry: ChunkEntry, frameBytes = entry.frameBytes): ChunkEntry {
  return { ...entry, frameBytes };
}

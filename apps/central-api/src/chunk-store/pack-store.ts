import { BorderKeys, type ChunkEntry, ChunkIndex, ChunkIndexBuilder, INDEX_ENTRY_BYTES, sha256, WaypostError } from '@waypost/contracts';
import { decompress, type DiskSpace, releaseMemory, TtlCache, ZSTD_SLACK_BYTES } from '@waypost/runtime';
import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import type { BlobReader, BlobStore } from './blobs/blob-store.js';
import type { ChunkCatalog, FoundContent } from './chunk-catalog.js';
import { packName } from './pack-writer.js';
import { type FramePosition, locatorOf, LostChunks, readFrames } from './read-frames.js';
import { readStream } from './read-stream.js';
import type { ChunkedTable, SnapshotId, SnapshotStore, StoredBase, StoredSnapshot, StreamSize, TableWriter } from './snapshot-store.js';
import { PackTableWriter } from './table-writer.js';
import { totalsOf } from './totals.js';

/** A disk that hangs, such as a dead network mount, must not hold up a scrape. */
const SPACE = { ttlMs: 5000, timeoutMs: 1000 };
/** A store that is fuller is swept before it reaches its limit. */
const NEARLY_FULL = 0.75;
/** A store that has grown by this part since it was measured, and by this many bytes, is swept: changes of large tables leave much that nothing needs. */
const GROWN = { part: 0.2, bytes: 16 << 20 };

/** Indexes and borders of contents that were stored or read last: what the next change starts from, and a delta leads to. Half a MB for 1,000,000 rows. */
const RECENT_BYTES = 16 << 20;

interface RecentTable extends ChunkedTable {
  indexSha256: Buffer;
}

interface PackStoreOptions {
  blobs: BlobStore;
  catalog: ChunkCatalog;
  logger: Logger;
  /** What all packs together may have; Infinity for no limit. */
  limitBytes: number;
}

/** Chunks in packs of a blob store; what is where is known to central's database. What is lost or damaged is forgotten, and built again. */
export class PackStore implements SnapshotStore {
  readonly space: TtlCache<DiskSpace>;
  /** Called when the store is full, or nearly so. */
  onFull: () => void = () => undefined;
  /** Called when much was added since the store was measured last. */
  onGrown: () => void = () => undefined;
  private measuredBytes: number | undefined;
  private addedBytes = 0;
  private readonly recent = new LRUCache<string, RecentTable>({
    maxSize: RECENT_BYTES,
    sizeCalculation: ({ index, borders }) => index.length * INDEX_ENTRY_BYTES + borders.encode().length,
  });

  constructor(private readonly options: PackStoreOptions) {
    this.space = new TtlCache(() => options.blobs.space(), SPACE);
  }

  get bytes(): number | undefined {
    return this.measuredBytes === undefined ? undefined : this.measuredBytes + this.addedBytes;
  }

  /** For the sweep. */
  get parts(): { blobs: BlobStore; catalog: ChunkCatalog } {
    return this.options;
  }

  /** Then nothing is kept that is not needed. */
  get isNearlyFull(): boolean {
    return (this.bytes ?? 0) > this.options.limitBytes * NEARLY_FULL;
  }

  create(base?: StoredBase): TableWriter {
    const { blobs, catalog, limitBytes } = this.options;
    const target = {
      blobs,
      catalog,
      limitBytes,
      isWhole: (packId: string) => this.isWhole(packId),
      onPack: (bytes: number) => {
        this.addedBytes += bytes;
        if (this.isNearlyFull) this.onFull();
        else if (this.addedBytes > Math.max(GROWN.bytes, (this.measuredBytes ?? Infinity) * GROWN.part)) this.onGrown();
      },
      onContent: ({ index, borders }: ChunkedTable, indexSha256: Buffer) => {
        this.recent.set(nameOf({ sha256: totalsOf(index).sha256, format: index.format }), { index, borders, indexSha256 });
      },
      onFull: () => this.onFull(),
    };
    return new PackTableWriter(target, base);
  }

  async find(id: SnapshotId): Promise<StoredSnapshot | undefined> {
    const found = await this.findWhole(id, true);
    return found?.index ? { index: found.index, frameBytes: found.frameBytes } : undefined;
  }

  async findBase(id: SnapshotId): Promise<StoredBase | undefined> {
    const readChunks = (chunks: ChunkIndex): AsyncGenerator<Buffer> => this.readChunks(id, chunks);
    const recent = this.recent.get(nameOf(id));
    const known = recent && (await this.findWhole(id, false));
    // Where chunks were lost and stored again with other lengths, its index is another one.
    if (known?.indexSha256?.equals(recent!.indexSha256)) return { ...recent!, packs: known.packs, readChunks };
    const found = await this.findWhole(id, true);
    const borderKeys = await this.options.catalog.readBorders(id);
    if (!found?.index || !borderKeys) return undefined;
    const table = { index: ChunkIndex.decode(found.index), borders: BorderKeys.decode(borderKeys) };
    if (found.indexSha256) this.recent.set(nameOf(id), { ...table, indexSha256: found.indexSha256 });
    return { ...table, packs: found.packs, readChunks };
  }

  /** A content, if all of its packs are there in full. */
  private async findWhole(id: SnapshotId, withIndex: boolean): Promise<FoundContent | undefined> {
    const { catalog } = this.options;
    for (let found = await catalog.findContent(id, withIndex); found;) {
      const lost = await this.findLost(found);
      if (!lost) return found;
      // A sweep may have taken a pack away that nothing needs any more, this content neither.
      const again = await catalog.findContent(id, withIndex);
      if (again?.packs.join() === found.packs.join()) {
        await this.forget(id, lost);
        return undefined;
      }
      found = again;
    }
    return undefined;
  }

  readChunks(id: SnapshotId, chunks: ChunkIndex): AsyncGenerator<Buffer> {
    return this.forgetting(id, this.checkedChunks(chunks, this.openChunks(id, chunks, 0)));
  }

  async forgetDamaged(id: SnapshotId): Promise<void> {
    const stored = await this.find(id);
    if (!stored) return;
    const index = ChunkIndex.decode(stored.index);
    if (await this.isReadable(id, index)) return;
    // One by one: what is read together breaks off at the first that is damaged.
    for (const entry of index) {
      const one = new ChunkIndexBuilder(index.format);
      one.add(entry);
      await this.isReadable(id, one.build());
    }
  }

  private async isReadable(id: SnapshotId, chunks: ChunkIndex): Promise<boolean> {
    try {
      for await (const bytes of this.readChunks(id, chunks)) releaseMemory(bytes, ZSTD_SLACK_BYTES);
      return true;
    } catch (error) {
      if (error instanceof WaypostError && error.code === 'SNAPSHOT_MISSING') return false;
      throw error;
    }
  }

  /** @throws LostChunks */
  private async *checkedChunks(chunks: ChunkIndex, pieces: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
    for await (const { frame, entry } of splitFrames(chunks, pieces)) {
      const bytes = checkedChunk(frame, entry);
      if (!bytes) throw await this.damaged(entry.digest);
      yield bytes;
    }
  }

  private async damaged(digest: Buffer): Promise<LostChunks> {
    const [place] = await this.options.catalog.locate(digest);
    return new LostChunks('a chunk in it holds other rows', place?.packId, digest);
  }

  openFrames(id: SnapshotId, { index }: StoredSnapshot): AsyncGenerator<Buffer> {
    return this.openChunks(id, ChunkIndex.decode(index), 0);
  }

  openChunks(id: SnapshotId, chunks: ChunkIndex, start: number): AsyncGenerator<Buffer> {
    const { blobs, catalog } = this.options;
    const source = { openPack: (packId: string) => blobs.open(packName(packId)), locate: locatorOf(catalog, chunks) };
    return this.forgetting(id, readFrames(source, positionOf(chunks, start)));
  }

  async measureStream(id: SnapshotId, { isWhole }: { isWhole: boolean }): Promise<StreamSize | undefined> {
    if (isWhole && !(await this.findWhole(id, false))) return undefined;
    return this.options.catalog.measureContent(id);
  }

  openStream(id: SnapshotId, size: StreamSize, start: number): AsyncGenerator<Buffer> {
    const { blobs, catalog } = this.options;
    const whole = new Map<string, Promise<boolean>>();
    const openPack = async (packId: string): Promise<BlobReader | undefined> => {
      const isWhole = whole.get(packId) ?? this.isWhole(packId);
      whole.set(packId, isWhole);
      return (await isWhole) ? blobs.open(packName(packId)) : undefined;
    };
    return this.forgetting(id, readStream(catalog, openPack, { id, size, start }));
  }

  /** What proves to be lost is forgotten. */
  private async *forgetting(id: SnapshotId, frames: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
    try {
      yield* frames;
    } catch (error) {
      if (!(error instanceof LostChunks)) throw error;
      await this.forget(id, error);
      throw new WaypostError('SNAPSHOT_MISSING', { detail: `What the store had of this table is lost: ${error.message}.`, cause: error });
    }
  }

  async measure(): Promise<void> {
    // What is stored while this looks may count twice until the next time, and is never left out.
    const counted = this.addedBytes;
    const blobs = await this.options.blobs.list();
    this.measuredBytes = blobs.reduce((sum, { bytes }) => sum + bytes, 0);
    this.addedBytes -= counted;
  }

  async check(): Promise<void> {
    await this.options.blobs.check();
  }

  private async findLost({ packs, packBytes }: FoundContent): Promise<LostChunks | undefined> {
    const sizes = await Promise.all(packs.map((packId) => this.options.blobs.head(packName(packId))));
    const at = packs.findIndex((_, pack) => packBytes[pack] !== sizes[pack] || sizes[pack] === undefined);
    if (at < 0) return undefined;
    return packBytes[at] === null ? new LostChunks('it is not known', packs[at]) : lostPack(packs[at] as string, sizes[at]);
  }

  /** Whether a pack is there in full; it is forgotten otherwise. */
  private async isWhole(packId: string): Promise<boolean> {
    const [known, size] = await Promise.all([this.options.catalog.packBytes(packId), this.options.blobs.head(packName(packId))]);
    if (known === undefined || known === size) return known !== undefined;
    const lost = lostPack(packId, size);
    await this.options.catalog.forgetPack(packId);
    this.report(lost);
    return false;
  }

  private async forget(id: SnapshotId, lost: LostChunks): Promise<void> {
    const { catalog } = this.options;
    if (lost.packId !== undefined && lost.digest) await catalog.forgetChunk(lost.packId, lost.digest);
    else if (lost.packId !== undefined) await catalog.forgetPack(lost.packId);
    await catalog.forgetContent(id);
    this.report(lost, id);
  }

  private report({ packId, digest, message }: LostChunks, id?: SnapshotId): void {
    const facts = { packId, chunk: digest?.toString('hex'), sha256: id?.sha256, reason: message };
    this.options.logger.error(facts, 'a chunk is missing or corrupt: what needs it is built again');
  }
}

/** Where a byte lies among the frames of chunks. */
function positionOf(chunks: ChunkIndex, start: number): FramePosition {
  let [at, skip] = [0, start];
  while (at < chunks.length && skip >= chunks.entry(at).frameBytes) {
    skip -= chunks.entry(at).frameBytes;
    at += 1;
  }
  return { at, skip };
}

/** @param pieces the frames one after another, split anywhere */
async function* splitFrames(chunks: ChunkIndex, pieces: AsyncGenerator<Buffer>): AsyncGenerator<{ frame: Buffer; entry: ChunkEntry }> {
  let rest: Buffer = Buffer.alloc(0);
  let at = 0;
  for await (const piece of pieces) {
    rest = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
    for (; at < chunks.length && rest.length >= chunks.entry(at).frameBytes; at += 1) {
      const entry = chunks.entry(at);
      yield { entry, frame: rest.subarray(0, entry.frameBytes) };
      rest = rest.subarray(entry.frameBytes);
    }
  }
}

/** Undefined where its bytes are not those that its digest names. */
function checkedChunk(frame: Buffer, { rawBytes, digest }: ChunkEntry): Buffer | undefined {
  try {
    const bytes = decompress(frame, rawBytes);
    return sha256(bytes).equals(digest) ? bytes : undefined;
  } catch (error) {
    if (error instanceof WaypostError && error.code === 'CHUNK_CORRUPT') return undefined;
    throw error;
  }
}

function nameOf({ sha256, format }: SnapshotId): string {
  return `${sha256} ${format}`;
}

function lostPack(packId: string, size: number | undefined): LostChunks {
  return new LostChunks(size === undefined ? 'it is gone' : 'it has another length than when it was written', packId);
}

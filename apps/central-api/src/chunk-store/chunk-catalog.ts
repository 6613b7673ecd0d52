import { type ChunkEntry, INDEX_ENTRY_BYTES, readEntry, sha256 as hash } from '@waypost/contracts';
import { queryPrepared, withClient, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import * as sql from './chunk-catalog.sql.js';
import { frameMarks } from './frame-marks.js';
import type { ChunkedTable, SnapshotId, StreamSize } from './snapshot-store.js';
import { totalsOf } from './totals.js';

const DIGEST_BYTES = 32;

/** A stored chunk, for a builder that needs it. */
export interface KnownChunk {
  /** Which of the digests that were looked up. */
  at: number;
  packId: string;
  frameBytes: number;
}

/** Where a chunk's frame is, for a reader. */
export interface ChunkPlace extends KnownChunk {
  start: number;
  /** Of the frame. */
  crc32: number;
}

/** A frame in a pack. */
export interface PackedChunk {
  start: number;
  frameBytes: number;
  rawBytes: number;
  crc32: number;
}

/** A pack that is written. Keys of its chunks are their digests in Latin-1. */
export interface Pack {
  packId: string;
  bytes: number;
  chunks: ReadonlyMap<string, PackedChunk>;
}

export interface FoundContent {
  /** Header and index of the chunk stream; null where it was not asked for. */
  index: Buffer | null;
  /** SHA-256 of that; null where an earlier release stored it. */
  indexSha256: Buffer | null;
  /** Length of all frames together. */
  frameBytes: number;
  packs: string[];
  /** Lengths of the packs, null where one is not known any more. */
  packBytes: (number | null)[];
}

/** A content as it is stored, but for its packs. */
export interface Content extends SnapshotId {
  /** Encoded. */
  index: Buffer;
  indexSha256: Buffer;
  marks: Buffer;
  borders: Buffer;
  rowCount: number;
  frameBytes: number;
}

export function contentOf({ index, borders }: ChunkedTable): Content {
  const { sha256, rowCount, frameBytes } = totalsOf(index);
  const bytes = index.encode();
  const of = { sha256, format: index.format, rowCount, frameBytes };
  return { ...of, index: bytes, indexSha256: hash(bytes), marks: frameMarks(bytes), borders: borders.encode() };
}

/** An index of a content: another one may take its place where chunks were lost and are stored again with other lengths. */
export type ContentIndex = SnapshotId & Pick<StreamSize, 'indexSha256'>;

/** A chunk of an index, and where it is, if it is stored. */
export interface LocatedEntry {
  entry: ChunkEntry;
  place: ChunkPlace | undefined;
}

/** The chunk store's memory, in central's database: what is in which pack, and which chunks are a table's content. */
export class ChunkCatalog {
  constructor(private readonly pool: pg.Pool) {}

  /** @param digests one after another */
  async lookUp(digests: Buffer): Promise<KnownChunk[]> {
    return this.query('look up', sql.LOOK_UP, [digests, digests.length / DIGEST_BYTES]);
  }

  /** Those that are there, in order. */
  async locate(digests: Buffer): Promise<ChunkPlace[]> {
    return this.query('locate', sql.LOCATE, [digests, digests.length / DIGEST_BYTES]);
  }

  /**
   * Makes a pack's chunks known, all at once.
   * @param limitBytes what all packs together may have
   * @returns those of its chunks that another writer had made known first, in another pack, by their keys; undefined when it would be too much
   */
  async addPack(pack: Pack, limitBytes: number): Promise<Map<string, KnownChunk> | undefined> {
    if (limitBytes < Infinity && (await this.storedBytes()) + pack.bytes > limitBytes) return undefined;
    const keys = [...pack.chunks.keys()];
    const chunks = [...pack.chunks.values()];
    const digests = Buffer.from(keys.join(''), 'latin1');
    const added = await this.query('add chunks', sql.ADD_CHUNKS, [
      digests,
      keys.length,
      pack.packId,
      chunks.map(({ start }) => start),
      chunks.map(({ frameBytes }) => frameBytes),
      chunks.map(({ rawBytes }) => rawBytes),
      chunks.map(({ crc32 }) => crc32),
      pack.bytes,
    ]);
    if (added.length === keys.length) return new Map();
    const known = await this.lookUp(digests);
    return new Map(known.filter(({ packId }) => packId !== pack.packId).map((chunk) => [keys[chunk.at] as string, chunk]));
  }

  async packBytes(packId: string): Promise<number | undefined> {
    const [pack] = await this.query<{ bytes: number }>('pack', sql.READ_PACK, [packId]);
    return pack?.bytes;
  }

  async storedBytes(): Promise<number> {
    const [stored] = await this.query<{ bytes: number }>('stored bytes', sql.SUM_PACKS, []);
    return stored?.bytes ?? 0;
  }

  /** @param packs those that hold its chunks */
  async addContent({ sha256, format, index, rowCount, frameBytes, indexSha256, marks, borders }: Content, packs: string[]): Promise<void> {
    const values = [sha256, format, index, rowCount, frameBytes, packs.sort(), indexSha256, marks, borders];
    await this.query('add content', sql.ADD_CONTENT, values);
  }

  /** Where a content's chunks end, as BorderKeys encodes it; undefined where that is not known. */
  async readBorders({ sha256, format }: SnapshotId): Promise<Buffer | undefined> {
    const [content] = await this.query<{ borders: Buffer | null }>('read borders', sql.READ_BORDERS, [sha256, format]);
    return content?.borders ?? undefined;
  }

  /** Sizes of a content's chunk stream, without reading its index. */
  async measureContent(id: SnapshotId): Promise<StreamSize | undefined> {
    const measure = (): Promise<StreamSize[]> => this.query('measure content', sql.MEASURE_CONTENT, [id.sha256, id.format]);
    let [size] = await measure();
    while (size && !size.indexSha256) {
      await this.addMarks(id);
      [size] = await measure();
    }
    return size;
  }

  /** Header and index from a byte on, as much as there is of `length`; undefined where the content has gone. */
  async readIndexPart(of: ContentIndex, from: number, length: number): Promise<Buffer | undefined> {
    const [part] = await this.query<{ bytes: Buffer }>('read index part', sql.READ_INDEX_PART, [...valuesOf(of), from, length]);
    return part?.bytes;
  }

  /** The chunk whose frame a position among the frames lies in, and how far; undefined where the content has gone. */
  async findChunk(of: ContentIndex, position: number): Promise<{ at: number; skip: number } | undefined> {
    type Block = { firstChunk: number; start: number; entries: Buffer };
    const [block] = await this.query<Block>('find block', sql.FIND_BLOCK, [...valuesOf(of), position]);
    if (!block) return undefined;
    let skip = position - block.start;
    for (let at = 0; at < block.entries.length / INDEX_ENTRY_BYTES; at += 1) {
      const { frameBytes } = readEntry(block.entries, at * INDEX_ENTRY_BYTES);
      if (skip < frameBytes) return { at: block.firstChunk + at, skip };
      skip -= frameBytes;
    }
    return undefined;
  }

  /** Chunks of a content, from one on, in order; none where the content has gone. */
  async locatePart(of: ContentIndex, from: number, count: number): Promise<LocatedEntry[]> {
    const rows = await this.query<ChunkPlace & { entry: Buffer }>('locate part', sql.LOCATE_PART, [...valuesOf(of), from, count]);
    return rows.map(({ entry, ...place }) => ({ entry: readEntry(entry, 0), place: place.packId ? place : undefined }));
  }

  async findContent({ sha256, format }: SnapshotId, withIndex: boolean): Promise<FoundContent | undefined> {
    const [content] = await this.query<FoundContent>('find content', sql.FIND_CONTENT, [sha256, format, withIndex]);
    return content;
  }

  async forgetContent({ sha256, format }: SnapshotId): Promise<void> {
    await this.write([sql.FORGET_CONTENT], [sha256, format]);
  }

  /** The pack, its chunks, and all contents that need it. */
  async forgetPack(packId: string): Promise<void> {
    await this.write(sql.FORGET_PACK, [packId]);
  }

  /** A chunk that is damaged where it is, and all contents that need it from there. */
  async forgetChunk(packId: string, digest: Buffer): Promise<void> {
    await this.write([sql.FORGET_CHUNK], [digest, packId]);
  }

  /** For a content that an earlier release stored. */
  private async addMarks({ sha256, format }: SnapshotId): Promise<void> {
    const [content] = await this.query<{ index: Buffer }>('read index', sql.READ_INDEX, [sha256, format]);
    if (!content) return;
    await this.query('add marks', sql.ADD_MARKS, [sha256, format, hash(content.index), frameMarks(content.index)]);
  }

  private async write(statements: readonly string[], values: unknown[]): Promise<void> {
    await withClient(this.pool, (client) =>
      withTransaction(client, 'READ WRITE', async () => {
        for (const statement of statements) await client.query(statement, values);
      }),
    );
  }

  private query<Row extends object>(name: string, text: string, values: unknown[]): Promise<Row[]> {
    return withClient(this.pool, (client) => queryPrepared<Row>(client, name, text, values));
  }
}

function valuesOf({ sha256, format, indexSha256 }: ContentIndex): unknown[] {
  return [sha256, format, indexSha256];
}

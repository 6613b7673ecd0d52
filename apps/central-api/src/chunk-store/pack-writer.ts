import { crc32 } from 'node:zlib';
import { faultPoint, releaseMemory, newId } from '@waypost/runtime';
import type { BlobStore, BlobWriter } from './blobs/blob-store.js';
import type { Pack, PackedChunk } from './chunk-catalog.js';

/** A pack that is longer, or has more chunks, is closed. */
const PACK_BYTES = 64 << 20;
const PACK_CHUNKS = 16_384;
/** Frames are written in pieces of at least this size. */
const WRITE_BYTES = 256 << 10;

interface OpenPack {
  packId: string;
  writer: BlobWriter;
  bytes: number;
  chunks: Map<string, PackedChunk>;
}

/** The blob that is a pack. */
export function packName(packId: string): string {
  return `packs/${packId}.pack`;
}

/**
 * Writes frames back to back into packs. Memory holds what was not written yet, and the places of the chunks of two packs.
 * Whatever it throws, `abort` must follow.
 */
export class PackWriter {
  private pack: OpenPack | undefined;
  /** Its file is made durable and its chunks known while the next one is written. */
  private closing: { chunks: ReadonlyMap<string, PackedChunk>; done: Promise<void> } | undefined;
  private frames: Buffer[] = [];
  private pendingBytes = 0;

  /** @param onPack called for each pack when its blob is there, one after another */
  constructor(
    private readonly blobs: BlobStore,
    private readonly onPack: (pack: Pack) => Promise<void>,
  ) {}

  /** The length of a frame that was added, if it was not long ago. @param key the chunk's digest in Latin-1 */
  frameBytesOf(key: string): number | undefined {
    return (this.pack?.chunks.get(key) ?? this.closing?.chunks.get(key))?.frameBytes;
  }

  /**
   * Takes a frame, whose memory must be its own: it is given back once it is written.
   * @returns to be awaited before the next one
   */
  async add(key: string, rawBytes: number, frame: Buffer): Promise<void> {
    const pack = (this.pack ??= await this.openPack());
    pack.chunks.set(key, { start: pack.bytes, frameBytes: frame.length, rawBytes, crc32: crc32(frame) });
    pack.bytes += frame.length;
    this.frames.push(frame);
    this.pendingBytes += frame.length;
    if (this.pendingBytes >= WRITE_BYTES) await this.write(pack);
    if (pack.bytes >= PACK_BYTES || pack.chunks.size >= PACK_CHUNKS) await this.close(pack);
  }

  /** Returns when all packs are there and `onPack` has them. */
  async finish(): Promise<void> {
    if (this.pack) await this.close(this.pack);
    await this.closing?.done;
  }

  /** What is not finished is given up; may be called at any time. */
  async abort(): Promise<void> {
    const { pack } = this;
    this.pack = undefined;
    await this.closing?.done.catch(() => undefined);
    await pack?.writer.abort();
  }

  private async openPack(): Promise<OpenPack> {
    const packId = newId();
    return { packId, writer: await this.blobs.create(packName(packId)), bytes: 0, chunks: new Map() };
  }

  private async write({ writer }: OpenPack): Promise<void> {
    await faultPoint('central.mid-build');
    const { frames } = this;
    this.frames = [];
    this.pendingBytes = 0;
    await writer.append(frames);
    for (const frame of frames) releaseMemory(frame, Infinity); // whatever zstd did not fill
  }

  private async close(pack: OpenPack): Promise<void> {
    await this.write(pack);
    await this.closing?.done;
    const done = this.store(pack);
    done.catch(() => undefined); // its error is thrown where it is awaited
    this.closing = { chunks: pack.chunks, done };
    this.pack = undefined;
  }

  private async store({ writer, ...pack }: OpenPack): Promise<void> {
    try {
      await writer.commit();
      await this.onPack(pack);
    } finally {
      await writer.abort();
    }
  }
}

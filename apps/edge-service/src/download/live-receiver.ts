import {
  type ChunkEntry,
  INDEX_ENTRY_BYTES,
  LIVE_HEAD_BYTES,
  type LiveRecordType,
  readLiveEntry,
  readLiveHead,
  WaypostError,
} from '@waypost/contracts';
import { releaseMemory } from '@waypost/runtime';

/** Frames are collected and handed over together. */
const BLOCK_BYTES = 512 << 10;
/** A manifest of 100,000 tables stays below. */
const MAX_JSON_BYTES = 64 << 20;

/** What becomes of a live stream's records. */
export interface LiveRecords {
  draft(json: unknown): Promise<void>;
  table(): void;
  /** @param frames of `entries`, one after another; valid until the promise is kept */
  chunks(frames: Buffer, entries: readonly ChunkEntry[]): Promise<void>;
  cut(): void;
  manifest(json: unknown): void;
}

/** Takes a live stream apart as it arrives, split anywhere. Memory holds one block, or one record where that is larger. Chunks are not checked yet: their load does that. */
export class LiveReceiver {
  private part: 'head' | 'entry' | 'frame' | 'json' = 'head';
  /** The part under way: where it goes, and how much of it is there. */
  private target: Buffer = Buffer.alloc(LIVE_HEAD_BYTES);
  private gathered = 0;
  private record: { type: LiveRecordType; length: number } | undefined;
  /** [0, used) are whole frames. */
  private block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  private used = 0;
  private entries: ChunkEntry[] = [];

  constructor(private readonly records: LiveRecords) {}

  /** @throws WaypostError CHUNK_CORRUPT, and what `records` throws */
  async push(input: Buffer): Promise<void> {
    for (let at = 0; at < input.length;) {
      const taken = input.copy(this.target, this.gathered, at);
      this.gathered += taken;
      at += taken;
      while (this.gathered === this.target.length) await this.finishPart();
    }
  }

  private async finishPart(): Promise<void> {
    switch (this.part) {
      case 'head':
        this.record = readLiveHead(this.target);
        return this.beginRecord(this.record);
      case 'entry': {
        // The entry refers to the target's bytes.
        const entry = readLiveEntry(Buffer.from(this.target), this.record!.length);
        await this.makeRoom(entry.frameBytes);
        this.entries.push(entry);
        return this.expect('frame', this.block.subarray(this.used, this.used + entry.frameBytes));
      }
      case 'frame':
        this.used += this.target.length;
        // A long row's frame does not stay in memory until the next one comes.
        if (this.block.length > BLOCK_BYTES) await this.handOver();
        return this.expectHead();
      case 'json': {
        const { type } = this.record!;
        const json = parse(this.target);
        if (type === 'draft') await this.records.draft(json);
        else this.records.manifest(json);
        return this.expectHead();
      }
    }
  }

  private async beginRecord({ type, length }: { type: LiveRecordType; length: number }): Promise<void> {
    if (type === 'chunk') return this.expect('entry', Buffer.alloc(INDEX_ENTRY_BYTES));
    await this.handOver();
    if (type === 'table' || type === 'cut') {
      this.records[type]();
      return this.expectHead();
    }
    if (length > MAX_JSON_BYTES)
      throw new WaypostError('CHUNK_CORRUPT', { detail: `A live stream announces a document of ${length} bytes.` });
    this.expect('json', Buffer.alloc(length));
  }

  private expectHead(): void {
    this.expect('head', Buffer.alloc(LIVE_HEAD_BYTES));
  }

  private expect(part: LiveReceiver['part'], target: Buffer): void {
    this.part = part;
    this.target = target;
    this.gathered = 0;
  }

  private async makeRoom(frameBytes: number): Promise<void> {
    if (this.used + frameBytes <= this.block.length) return;
    await this.handOver();
    if (frameBytes > this.block.length) this.replaceBlock(frameBytes);
  }

  private async handOver(): Promise<void> {
    if (this.entries.length === 0) return;
    await this.records.chunks(this.block.subarray(0, this.used), this.entries);
    this.used = 0;
    this.entries = [];
    if (this.block.length > BLOCK_BYTES) this.replaceBlock(BLOCK_BYTES);
  }

  private replaceBlock(bytes: number): void {
    releaseMemory(this.block);
    this.block = Buffer.allocUnsafeSlow(bytes);
  }
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8')) as unknown;
  } catch (cause) {
    throw new WaypostError('CHUNK_CORRUPT', { detail: 'A live stream has a document that is not JSON.', cause });
  }
}

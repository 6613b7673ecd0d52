import {
  type ChunkEntry,
  INDEX_ENTRY_BYTES,
  LIVE_HEAD_BYTES,
  type LiveRecordType,
  readLiveEntry,
  readLiveHead,
  WaypostError,
} from '@waypost/contracts';
import { FrameBlock } from './frame-block.js';

/** A manifest of 100,000 tables stays below. */
const MAX_JSON_BYTES = 64 << 20;
const MAX_SIGNATURE_BYTES = 4096;

/** Takes a live stream's records, in the stream's order. */
export interface LiveRecords {
  preamble(json: unknown): Promise<void>;
  table(): void;
  /** @param frames of `entries`, one after another; valid until the promise settles */
  chunks(frames: Buffer, entries: readonly ChunkEntry[]): Promise<void>;
  truncated(): void;
  /** What claims to be the signature of the manifest that follows. */
  signature(json: unknown): void;
  manifest(json: unknown): void;
}

/** Parses a live stream as it arrives, split anywhere. Memory holds one block, or one record where that is larger. Does not check chunks: the load does. */
export class LiveReceiver {
  private part: 'head' | 'entry' | 'frame' | 'json' = 'head';
  /** The current part: where it goes, and how much of it is there. */
  private target: Buffer = Buffer.alloc(LIVE_HEAD_BYTES);
  private gathered = 0;
  private record: { type: LiveRecordType; length: number } | undefined;
  private readonly block = new FrameBlock((frames) => this.handOver(frames));
  /** Of the frames in the block. */
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
        const frame = await this.block.reserve(entry.frameBytes);
        this.entries.push(entry);
        return this.expect('frame', frame);
      }
      case 'frame':
        await this.block.commit();
        return this.expectHead();
      case 'json': {
        const { type } = this.record!;
        const json = parse(this.target);
        if (type === 'preamble') await this.records.preamble(json);
        else if (type === 'signature') this.records.signature(json);
        else this.records.manifest(json);
        return this.expectHead();
      }
    }
  }

  private async beginRecord({ type, length }: { type: LiveRecordType; length: number }): Promise<void> {
    if (type === 'chunk') return this.expect('entry', Buffer.alloc(INDEX_ENTRY_BYTES));
    await this.block.flush();
    if (type === 'table' || type === 'truncated') {
      this.records[type]();
      return this.expectHead();
    }
    if (length > (type === 'signature' ? MAX_SIGNATURE_BYTES : MAX_JSON_BYTES))
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

  private async handOver(frames: Buffer): Promise<void> {
    await this.records.chunks(frames, this.entries);
    this.entries = [];
  }
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8')) as unknown;
  } catch (cause) {
    throw new WaypostError('CHUNK_CORRUPT', { detail: 'A live stream has a document that is not JSON.', cause });
  }
}

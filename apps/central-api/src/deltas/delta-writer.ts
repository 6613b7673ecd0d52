import { newId } from '@waypost/runtime';

/** What a download of a delta holds in memory, twice. */
const PART_BYTES = 64 << 10;

export interface DeltaParts {
  /** Where each one begins, counted from the delta's first frame. */
  starts: number[];
  parts: Buffer[];
}

/** Cuts a delta into parts as it is made. Its frames come first: the list of its segments, which stands before them, is known last. */
export class DeltaWriter {
  readonly deltaId = newId();
  private pending: Buffer[] = [];
  private pendingBytes = 0;
  /** Of the frames, what was given to `onParts`. */
  private writtenBytes = 0;

  constructor(private readonly onParts: (parts: DeltaParts) => Promise<void>) {}

  /** Whether `onParts` was called. */
  get hasWritten(): boolean {
    return this.writtenBytes > 0;
  }

  async add(frame: Buffer): Promise<void> {
    this.pending.push(frame);
    this.pendingBytes += frame.length;
    if (this.pendingBytes < PART_BYTES) return;
    const bytes = Buffer.concat(this.pending);
    const wholeBytes = bytes.length - (bytes.length % PART_BYTES);
    await this.onParts(cut(bytes.subarray(0, wholeBytes), this.writtenBytes));
    this.writtenBytes += wholeBytes;
    this.pending = [bytes.subarray(wholeBytes)];
    this.pendingBytes = bytes.length - wholeBytes;
  }

  /** @returns what was not written yet */
  finish(head: Buffer): DeltaParts {
    const rest = Buffer.concat(this.pending);
    if (!this.hasWritten) return cut(Buffer.concat([head, rest]), -head.length);
    const [before, after] = [cut(head, -head.length), cut(rest, this.writtenBytes)];
    return { starts: [...before.starts, ...after.starts], parts: [...before.parts, ...after.parts] };
  }
}

function cut(bytes: Buffer, start: number): DeltaParts {
  const offsets = Array.from({ length: Math.ceil(bytes.length / PART_BYTES) }, (_, at) => at * PART_BYTES);
  return { starts: offsets.map((offset) => start + offset), parts: offsets.map((offset) => bytes.subarray(offset, offset + PART_BYTES)) };
}

import type { Readable } from 'node:stream';
import { type ChunkEntry, type Preamble, preambleSchema, WaypostError } from '@waypost/contracts';
import { releaseMemory } from '@waypost/runtime';
import { type StallOptions, withStallTimeout } from '../central/with-stall-timeout.js';
import { LiveReceiver, type LiveRecords } from './live-receiver.js';
import { LiveSpool } from './live-spool.js';

interface LiveOptions {
  /** Of the file that takes the frames. */
  path: string;
  watch: StallOptions;
  /** Central's clock, if its answer tells the time. */
  centralTime: Date | undefined;
  onBytes: (count: number) => void;
}

/** A live stream: a first sync's rows as they arrive, then the manifest. Disposing it ends the transfer and closes its file. */
export class LiveDownload implements AsyncDisposable {
  private running: Promise<unknown> = Promise.resolve();
  private readonly parts: AsyncGenerator<Buffer, void>;

  private constructor(
    private readonly body: Readable,
    watch: StallOptions,
    private readonly receiver: LiveReceiver,
    private readonly state: LiveStreamState,
    readonly centralTime: Date | undefined,
    private readonly onBytes: (count: number) => void,
  ) {
    this.parts = withStallTimeout(body, watch);
  }

  /**
   * Reads up to the preamble.
   * @throws WaypostError CHUNK_CORRUPT, STORAGE_FAILED, TRANSFER_STALLED, DEADLINE_EXCEEDED, CENTRAL_UNREACHABLE
   */
  static async open(body: Readable, { path, watch, centralTime, onBytes }: LiveOptions): Promise<LiveDownload> {
    const state = new LiveStreamState(path);
    const live = new LiveDownload(body, watch, new LiveReceiver(state), state, centralTime, onBytes);
    try {
      while (!state.spool) await live.takeNext();
      return live;
    } catch (error) {
      await live[Symbol.asyncDispose]();
      throw error;
    }
  }

  get preamble(): Preamble {
    return this.state.announced!;
  }

  /** In the preamble's order. */
  get tables(): LiveSpool['tables'] {
    return this.state.spool!.tables;
  }

  /** What claims to be the manifest’s signature, unchecked; undefined where none has come. */
  get signature(): unknown {
    return this.state.signed;
  }

  /** All chunks have arrived. */
  get isWhole(): boolean {
    return this.tables.every(({ complete }) => complete);
  }

  /**
   * Fetches the rest. Call it once.
   * @returns what claims to be the manifest, unchecked
   */
  run(): Promise<unknown> {
    this.running = this.fetchAll();
    return this.running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.body.on('error', () => undefined).destroy();
    await this.running.catch(() => undefined);
    await this.state.spool?.close();
  }

  private async fetchAll(): Promise<unknown> {
    while (this.state.received === undefined) await this.takeNext();
    return this.state.received;
  }

  private async takeNext(): Promise<void> {
    const { done, value } = await this.parts.next();
    if (done) throw new WaypostError('CENTRAL_UNREACHABLE', { detail: 'A live stream ended before its manifest.' });
    this.onBytes(value.length);
    await this.receiver.push(value);
    releaseMemory(value);
  }
}

/** What has arrived so far. */
class LiveStreamState implements LiveRecords {
  announced: Preamble | undefined;
  spool: LiveSpool | undefined;
  received: unknown;
  signed: unknown;
  private isTruncated = false;

  constructor(private readonly path: string) {}

  async preamble(json: unknown): Promise<void> {
    const parsed = preambleSchema.safeParse(json);
    if (!parsed.success || this.spool)
      throw new WaypostError('CHUNK_CORRUPT', { detail: 'A live stream does not begin with one preamble.' });
    this.announced = parsed.data;
    this.spool = await LiveSpool.open(this.path, parsed.data.tables);
  }

  table(): void {
    this.spooled().beginTable();
  }

  async chunks(frames: Buffer, entries: readonly ChunkEntry[]): Promise<void> {
    await this.spooled().append(frames, entries);
  }

  truncated(): void {
    this.isTruncated = true;
    this.spooled().truncate();
  }

  signature(json: unknown): void {
    this.spooled();
    this.signed = json;
  }

  manifest(json: unknown): void {
    if (!this.isTruncated) this.spooled().end();
    this.received = json;
  }

  private spooled(): LiveSpool {
    if (!this.spool) throw new WaypostError('CHUNK_CORRUPT', { detail: 'A live stream does not begin with a preamble.' });
    return this.spool;
  }
}

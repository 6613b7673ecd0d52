import type { Readable } from 'node:stream';
import { type ChunkEntry, type Draft, draftSchema, WaypostError } from '@waypost/contracts';
import { releaseMemory } from '@waypost/runtime';
import { steady, type Watch } from '../central/with-stall-timeout.js';
import { LiveReceiver, type LiveRecords } from './live-receiver.js';
import { LiveSpool } from './live-spool.js';

interface LiveOptions {
  /** Of the file for what comes. */
  path: string;
  watch: Watch;
  /** Central's clock, if its answer tells the time. */
  centralTime: Date | undefined;
  onBytes: (count: number) => void;
}

/** A first sync's rows on their way here, and in the end the manifest. Ends the transfer and closes its file when it goes out of scope. */
export class LiveDownload implements AsyncDisposable {
  private running: Promise<unknown> = Promise.resolve();
  private readonly steadily: AsyncGenerator<Buffer, void>;

  private constructor(
    private readonly body: Readable,
    watch: Watch,
    private readonly receiver: LiveReceiver,
    private readonly opened: Opened,
    readonly centralTime: Date | undefined,
    private readonly onBytes: (count: number) => void,
  ) {
    this.steadily = steady(body, watch);
  }

  /**
   * Reads up to the draft.
   * @param path of the file for what comes
   * @throws WaypostError CHUNK_CORRUPT, STORAGE_FAILED, TRANSFER_STALLED, DEADLINE_EXCEEDED, CENTRAL_UNREACHABLE
   */
  static async open(body: Readable, { path, watch, centralTime, onBytes }: LiveOptions): Promise<LiveDownload> {
    const opened = new Opened(path);
    const live = new LiveDownload(body, watch, new LiveReceiver(opened), opened, centralTime, onBytes);
    try {
      while (!opened.spool) await live.takeNext();
      return live;
    } catch (error) {
      await live[Symbol.asyncDispose]();
      throw error;
    }
  }

  get draft(): Draft {
    return this.opened.asked!;
  }

  /** In the draft's order. */
  get tables(): LiveSpool['tables'] {
    return this.opened.spool!.tables;
  }

  /** All chunks are here. */
  get isWhole(): boolean {
    return this.tables.every(({ complete }) => complete);
  }

  /**
   * Brings the rest. Call it once.
   * @returns what claims to be the manifest, unchecked
   */
  run(): Promise<unknown> {
    this.running = this.bring();
    return this.running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.body.on('error', () => undefined).destroy();
    await this.running.catch(() => undefined);
    await this.opened.spool?.close();
  }

  private async bring(): Promise<unknown> {
    while (this.opened.received === undefined) await this.takeNext();
    return this.opened.received;
  }

  private async takeNext(): Promise<void> {
    const { done, value } = await this.steadily.next();
    if (done) throw new WaypostError('CENTRAL_UNREACHABLE', { detail: 'A live stream ended before its manifest.' });
    this.onBytes(value.length);
    await this.receiver.push(value);
    releaseMemory(value);
  }
}

/** What has come so far. */
class Opened implements LiveRecords {
  asked: Draft | undefined;
  spool: LiveSpool | undefined;
  received: unknown;
  private isCut = false;

  constructor(private readonly path: string) {}

  async draft(json: unknown): Promise<void> {
    const parsed = draftSchema.safeParse(json);
    if (!parsed.success || this.spool) throw new WaypostError('CHUNK_CORRUPT', { detail: 'A live stream does not begin with one draft.' });
    this.asked = parsed.data;
    this.spool = await LiveSpool.open(this.path, parsed.data.tables);
  }

  table(): void {
    this.opened().beginTable();
  }

  async chunks(frames: Buffer, entries: readonly ChunkEntry[]): Promise<void> {
    await this.opened().append(frames, entries);
  }

  cut(): void {
    this.isCut = true;
    this.opened().cut();
  }

  manifest(json: unknown): void {
    if (!this.isCut) this.opened().end();
    this.received = json;
  }

  private opened(): LiveSpool {
    if (!this.spool) throw new WaypostError('CHUNK_CORRUPT', { detail: 'A live stream does not begin with a draft.' });
    return this.spool;
  }
}

import { Readable } from 'node:stream';
import { Injectable } from '@nestjs/common';
import {
  type ChunkEntry,
  type Preamble,
  LIVE_STREAM_TYPE,
  liveChunkHead,
  liveHead,
  type LiveRecordType,
  type Manifest,
  type ManifestSignature,
} from '@waypost/contracts';
import { releaseMemory } from '@waypost/runtime';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { accepts } from './accept.js';
import type { BuildObserver } from '../snapshots/build-observer.js';

/** A receiver that is further behind gets no more chunks: it downloads what the manifest names, as slowly as it likes, from the store. */
const MAX_BACKLOG_BYTES = 8 << 20;

/** Small records are sent together. */
const SEND_BYTES = 128 << 10;
/** Longer ones, with a long row, are not copied to be sent. */
const LONG_BYTES = 2 << 20;
/** Further requests get the regular answer: each live response may hold a backlog in memory. */
const MAX_AT_ONCE = 4;

/** The live responses in progress. */
@Injectable()
export class LiveResponses {
  private count = 0;

  /** @returns one for the `observer` of the request, if the device takes live streams and there is room for one more */
  open({ headers }: FastifyRequest, reply: FastifyReply): LiveResponse | undefined {
    if (!accepts(headers.accept, LIVE_STREAM_TYPE) || this.count >= MAX_AT_ONCE) return undefined;
    this.count += 1;
    reply.raw.once('close', () => (this.count -= 1));
    return new LiveResponse(reply);
  }
}

/** Sends a first sync's rows while they are read, then the manifest. The build never waits for the receiver. */
export class LiveResponse implements BuildObserver {
  /** Whole records that wait to be sent. */
  private queue: Buffer[][] = [];
  private backlogBytes = 0;
  private isWanted = false;
  private hasBegun = false;
  private isTruncated = false;
  private readonly body = new Readable({
    read: () => {
      this.isWanted = true;
      this.send();
    },
  });

  constructor(private readonly reply: FastifyReply) {}

  /** The response has begun: it ends with the manifest, or is aborted. */
  get begun(): boolean {
    return this.hasBegun;
  }

  get wantsChunks(): boolean {
    return this.hasBegun && !this.isTruncated && !this.body.destroyed;
  }

  begin(preamble: Preamble): void {
    this.hasBegun = true;
    this.addJson('preamble', preamble);
    void this.reply.status(200).header('content-type', LIVE_STREAM_TYPE).send(this.body);
  }

  table(): void {
    if (this.wantsChunks) this.add([liveHead('table', 0)]);
  }

  chunk(entry: ChunkEntry, frame: Buffer): void {
    if (!this.wantsChunks) return;
    this.add([liveChunkHead(entry), frame]);
    if (this.backlogBytes > MAX_BACKLOG_BYTES) this.truncate();
  }

  end(manifest: Manifest, signature: ManifestSignature): void {
    this.addJson('signature', signature);
    this.addJson('manifest', manifest);
    this.queue.push([]);
    this.send();
  }

  private truncate(): void {
    this.isTruncated = true;
    this.queue = [];
    this.backlogBytes = 0;
    this.add([liveHead('truncated', 0)]);
  }

  private addJson(type: LiveRecordType, document: object): void {
    const json = Buffer.from(JSON.stringify(document));
    this.add([liveHead(type, json.length), json]);
  }

  private add(record: Buffer[]): void {
    this.queue.push(record);
    for (const part of record) this.backlogBytes += part.length;
    this.send();
  }

  /** Small parts together, a long row's frame as it is. @returns whether more is wanted */
  private push(parts: readonly Buffer[], length: number): boolean {
    if (length > LONG_BYTES) return parts.map((part) => this.body.push(part)).at(-1) ?? true;
    const wanted = this.body.push(Buffer.concat(parts, length));
    for (const part of parts) releaseMemory(part);
    return wanted;
  }

  /** An empty record is the end. */
  private send(): void {
    while (this.isWanted && this.queue.length > 0) {
      const parts: Buffer[] = [];
      let length = 0;
      while (length < SEND_BYTES && this.queue[0] && this.queue[0].length > 0) {
        const record = this.queue.shift() as Buffer[];
        for (const part of record) length += part.length;
        parts.push(...record);
      }
      this.backlogBytes -= length;
      if (length > 0) this.isWanted = this.push(parts, length);
      if (this.isWanted && this.queue[0]?.length === 0) {
        this.queue = [];
        this.isWanted = this.body.push(null);
      }
    }
  }
}

import { Inject, Injectable } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import { LOGGER, queryPrepared, traced, withClient } from '@waypost/runtime';
import { LRUCache } from 'lru-cache';
import pg from 'pg';
import type { Logger } from 'pino';
import { RowChanges } from '../chunk-store/row-changes.js';
import { SNAPSHOT_STORE, type SnapshotId, type SnapshotStore } from '../chunk-store/snapshot-store.js';
import { STORE_POOL } from '../database/pools.js';
import { DeltaWriter } from './delta-writer.js';
import { ADD_PARTS, FIND_DELTA, KEEP_DELTA, KEEP_REASON, READ_PART, REMOVE_DELTAS, REMOVE_PARTS } from './deltas.sql.js';
import { makeDelta, makeKnownDelta } from './make-delta.js';

/** A delta stream that is stored. */
export interface StoredDelta {
  /** Names its bytes. */
  deltaId: string;
  /** Length of what stands before its first frame. */
  headBytes: number;
  /** Its length. */
  bytes: number;
  /** All of it, where it is in memory. */
  body?: Buffer;
}

type Found = StoredDelta | { deltaId: null; reason: string };

/** Parts without their delta are of one that is being made; after so long its process is gone. */
const UNFINISHED_MS = 6 * 3_600_000;
/** Each holds a few MB: both indexes, and a segment. */
const MAX_MAKING = 2;

/** Short deltas that were asked for last: after a change all devices of a scope want the same one. */
const RECENT = { maxSize: 4 << 20, maxEntrySize: 64 << 10 };

/** Deltas between tables of the chunk store. Each is made once, for all devices that need it. */
@Injectable()
export class DeltaStore {
  /** Those that are being made in this process. Another one may make the same: the first is kept. */
  private readonly making = new Map<string, Promise<StoredDelta | string>>();
  /** By what they lead from and to. */
  private readonly recent = new LRUCache<string, StoredDelta>({ ...RECENT, sizeCalculation: ({ bytes }) => bytes });
  private busy = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(
    @Inject(STORE_POOL) private readonly pool: pg.Pool,
    @Inject(SNAPSHOT_STORE) private readonly store: SnapshotStore,
    private readonly changes: RowChanges,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * The delta stream from one table to another of the same format.
   * @returns a text where there is none: why
   * @throws WaypostError SNAPSHOT_MISSING, STORAGE_FAILED
   */
  async get(base: SnapshotId, table: SnapshotId): Promise<StoredDelta | string> {
    const key = keyOf(base, table);
    const found = this.recent.get(key) ?? (await this.find(base, table));
    if (found !== undefined) return this.remember(key, found);
    const make = async (): Promise<StoredDelta | string> => this.remember(key, await this.make(base, table));
    const started = this.making.get(key) ?? this.inTurn(make).finally(() => this.making.delete(key));
    this.making.set(key, started);
    return started;
  }

  /** As `get`, where it is short and at hand: kept, or of rows that are known. No rows are read for it. */
  async getShort(base: SnapshotId, table: SnapshotId, maxBytes: number): Promise<Buffer | undefined> {
    const isKnown = this.changes.find(base, table) !== undefined;
    const found = isKnown ? await this.get(base, table) : (this.recent.get(keyOf(base, table)) ?? (await this.find(base, table)));
    if (typeof found !== 'object' || found.bytes > maxBytes) return undefined;
    return this.readAll(found);
  }

  /**
   * A delta's bytes from a position on. Memory holds a part of it.
   * @throws WaypostError SNAPSHOT_MISSING where it is removed meanwhile
   */
  async *read({ deltaId, headBytes, bytes, body }: StoredDelta, from: number): AsyncGenerator<Buffer> {
    if (body) {
      yield body.subarray(from);
      return;
    }
    for (let at = from; at < bytes;) {
      const [part] = await this.query<{ bytes: Buffer }>('read delta part', READ_PART, [deltaId, at - headBytes]);
      if (!part?.bytes.length) throw new WaypostError('SNAPSHOT_MISSING', { detail: `The delta ${deltaId} was removed meanwhile.` });
      yield part.bytes;
      at += part.bytes.length;
    }
  }

  /** Removes what leads to tables that are not in the chunk store any more. */
  async sweep(): Promise<void> {
    const [deltas, unfinished] = REMOVE_DELTAS;
    await this.query('remove deltas', deltas, []);
    await this.query('remove delta parts', unfinished, [UNFINISHED_MS]);
  }

  private async remember(key: string, delta: StoredDelta | string): Promise<StoredDelta | string> {
    if (typeof delta === 'string' || delta.bytes > RECENT.maxEntrySize || this.recent.has(key)) return delta;
    const held = { ...delta, body: await this.readAll(delta) };
    this.recent.set(key, held);
    return held;
  }

  private async readAll(delta: StoredDelta): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for await (const piece of this.read(delta, 0)) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  private async find(base: SnapshotId, table: SnapshotId): Promise<StoredDelta | string | undefined> {
    const [found] = await this.query<Found>('find delta', FIND_DELTA, [base.sha256, table.sha256, table.format]);
    return found?.deltaId === null ? found.reason : found;
  }

  private async make(from: SnapshotId, to: SnapshotId): Promise<StoredDelta | string> {
    const startedAt = performance.now();
    const maker = await this.makerOf(from, to);
    if (typeof maker === 'string') return maker;
    const pair = [from.sha256, to.sha256, to.format];
    const writer = new DeltaWriter(
      async ({ starts, parts }) => void (await this.query('add parts', ADD_PARTS, [writer.deltaId, starts, parts])),
    );
    let isKept = false;
    try {
      const made = await traced('make delta', {}, () => maker(writer));
      const facts = { base: from.sha256, sha256: to.sha256, durationMs: Math.round(performance.now() - startedAt) };
      if (typeof made === 'string') {
        await this.query('keep reason', KEEP_REASON, [...pair, made]);
        this.logger.info({ ...facts, reason: made }, 'no delta: the table is sent whole');
        return made;
      }
      const { head, bytes } = made;
      const { starts, parts } = writer.finish(head);
      const { deltaId } = writer;
      const kept = await this.query('keep delta', KEEP_DELTA, [...pair, deltaId, head.length, bytes, starts, parts]);
      isKept = kept.length > 0;
      if (!isKept) return (await this.find(from, to)) ?? 'as many deltas as are kept lead to it already';
      this.logger.info({ ...facts, bytes }, 'delta made');
      const body = writer.hasWritten ? {} : { body: Buffer.concat(parts) };
      return { deltaId, headBytes: head.length, bytes, ...body };
    } finally {
      if (!isKept && writer.hasWritten) await this.query('remove parts', REMOVE_PARTS, [writer.deltaId]);
    }
  }

  /** @returns a text where it cannot be made now: why */
  private async makerOf(from: SnapshotId, to: SnapshotId): Promise<((writer: DeltaWriter) => ReturnType<typeof makeDelta>) | string> {
    const known = this.changes.find(from, to);
    if (known) return (writer) => makeKnownDelta(known, { from, to }, writer);
    const [older, newer] = [await this.store.findBase(from), await this.store.findBase(to)];
    // Both may be there again later.
    if (!older) return 'what the device holds is not in the store any more';
    if (!newer) return 'where its chunks end is not known';
    const states = { from: { id: from, stored: older }, to: { id: to, stored: newer } };
    return (writer) => makeDelta(this.store, states, writer);
  }

  private async inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.busy < MAX_MAKING) this.busy += 1;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.waiting.shift();
      if (next) next();
      else this.busy -= 1;
    }
  }

  private query<Row extends object>(name: string, text: string, values: unknown[]): Promise<Row[]> {
    return withClient(this.pool, (client) => queryPrepared<Row>(client, name, text, values));
  }
}

function keyOf(base: SnapshotId, table: SnapshotId): string {
  return `${base.sha256} ${table.sha256} ${table.format}`;
}

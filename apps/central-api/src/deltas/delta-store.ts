import { Inject, Injectable } from '@nestjs/common';
import { LOGGER, queryPrepared, traced, withClient } from '@waypost/runtime';
import pg from 'pg';
import type { Logger } from 'pino';
import { SNAPSHOT_STORE, type SnapshotId, type SnapshotStore } from '../chunk-store/snapshot-store.js';
import { STORE_POOL } from '../database/pools.js';
import { FIND_DELTA, KEEP_DELTA, REMOVE_DELTAS } from './deltas.sql.js';
import { makeDelta } from './make-delta.js';

interface Found {
  bytes: Buffer | null;
  reason: string | null;
}

/** Deltas between tables of the chunk store. Each is made once, for all devices that need it. */
@Injectable()
export class DeltaStore {
  /** Those that are being made in this process. Another one may make the same: the first is kept. */
  private readonly making = new Map<string, Promise<Buffer | string>>();

  constructor(
    @Inject(STORE_POOL) private readonly pool: pg.Pool,
    @Inject(SNAPSHOT_STORE) private readonly store: SnapshotStore,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * The delta stream from one table to another of the same format.
   * @returns a text where there is none: why
   * @throws WaypostError SNAPSHOT_MISSING, STORAGE_FAILED
   */
  async get(base: SnapshotId, table: SnapshotId): Promise<Buffer | string> {
    const [found] = await this.query<Found>('find delta', FIND_DELTA, [base.sha256, table.sha256, table.format]);
    if (found) return found.bytes ?? (found.reason as string);
    const key = `${base.sha256} ${table.sha256} ${table.format}`;
    const started = this.making.get(key) ?? this.make(base, table).finally(() => this.making.delete(key));
    this.making.set(key, started);
    return started;
  }

  /** Removes what leads to tables that are not in the chunk store any more. */
  async sweep(): Promise<void> {
    await this.query('remove deltas', REMOVE_DELTAS, []);
  }

  private async make(from: SnapshotId, to: SnapshotId): Promise<Buffer | string> {
    const startedAt = performance.now();
    const [older, newer] = [await this.store.findBase(from), await this.store.findBase(to)];
    // Both may be there again later.
    if (!older) return 'what the device holds is not in the store any more';
    if (!newer) return 'where its chunks end is not known';
    const made = await traced('make delta', {}, () => makeDelta(this.store, { id: from, stored: older }, { id: to, stored: newer }));
    const [bytes, reason] = typeof made === 'string' ? [null, made] : [made, null];
    await this.query('keep delta', KEEP_DELTA, [from.sha256, to.sha256, to.format, bytes, reason]);
    const facts = {
      base: from.sha256,
      sha256: to.sha256,
      bytes: bytes?.length,
      reason,
      durationMs: Math.round(performance.now() - startedAt),
    };
    this.logger.info(facts, reason === null ? 'delta made' : 'no delta: the table is sent whole');
    return made;
  }

  private query<Row extends object>(name: string, text: string, values: unknown[]): Promise<Row[]> {
    return withClient(this.pool, (client) => queryPrepared<Row>(client, name, text, values));
  }
}

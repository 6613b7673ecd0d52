import { Injectable } from '@nestjs/common';
import { newId, queryPrepared, withClient } from '@waypost/runtime';
import { Database } from '../database/database.js';
import { type Drift, recordDrift } from '../state/record-drift.js';
import * as sql from './scrub.sql.js';

export type ScrubTrigger = 'schedule' | 'request';

/** How far a scrub has come. */
export interface ScrubProgress {
  /** Tables that are done, by the manifest's names. */
  done: string[];
  /** Of the table in progress: when its reading began, and border keys up to which it has been read, in hex: the last ones. */
  reading?: { table: string; since: string; keys: string[] };
}

/** A scrub, and what it has read. */
export interface Scrub {
  id: string;
  trigger: ScrubTrigger;
  startedAt: Date;
  tables: number;
  chunks: number;
  rows: number;
  rawBytes: number;
  progress: ScrubProgress;
}

/** waypost.edge_scrubs and edge_drifts: each scrub, and what it found. */
@Injectable()
export class ScrubLog {
  constructor(private readonly database: Database) {}

  /** Begins a scrub. A scheduled one goes on with one that was interrupted, where that began less than `maxAgeMs` ago. */
  async begin(trigger: ScrubTrigger, maxAgeMs: number): Promise<Scrub> {
    const [unfinished] = trigger === 'schedule' ? await this.query<Scrub>('find-scrub', sql.FIND_UNFINISHED, [maxAgeMs]) : [];
    if (unfinished) return unfinished;
    const id = newId();
    const [begun] = await this.query<{ startedAt: Date }>('begin-scrub', sql.BEGIN_SCRUB, [id, trigger]);
    return { id, trigger, startedAt: begun!.startedAt, tables: 0, chunks: 0, rows: 0, rawBytes: 0, progress: { done: [] } };
  }

  /** How long until the next scheduled one is due. */
  async findDueMs(intervalMs: number, maxAgeMs: number): Promise<number> {
    const [row] = await this.query<{ dueMs: number }>('scrub-due', sql.FIND_DUE, [intervalMs, maxAgeMs]);
    return row!.dueMs;
  }

  /** What the scrub has read so far. @param isComplete it is at its end */
  async record({ id, tables, chunks, rows, rawBytes, progress }: Scrub, isComplete = false): Promise<void> {
    await this.query('record-scrub', sql.RECORD_PROGRESS, [
      id,
      tables,
      chunks,
      rows,
      rawBytes,
      isComplete ? null : JSON.stringify(progress),
    ]);
  }

  /** Also makes the next cycle read the table again, whenever that is. */
  async recordDrift({ id }: Scrub, drift: Drift): Promise<void> {
    await withClient(this.database.pool, (client) => recordDrift(client, id, drift));
  }

  /** All rows of a table were read since then, and are those that were verified last. */
  async recordWhole(table: string, since: string): Promise<void> {
    await this.query('record-whole', sql.RECORD_WHOLE, [table, since]);
  }

  async recordRepair({ id }: Scrub, cycleId: string): Promise<void> {
    await this.query('record-repair', sql.RECORD_REPAIR, [id, cycleId]);
  }

  async findDrifts({ id }: Scrub): Promise<Drift[]> {
    return this.query<Drift>('find-drifts', sql.DRIFTS_OF, [id]);
  }

  /** Of its drifts those whose key ranges had drifted in the scrub before, too. */
  async findRepeated({ id }: Scrub): Promise<Omit<Drift, 'chunks'>[]> {
    return this.query<Omit<Drift, 'chunks'>>('find-repeated', sql.DRIFTED_BEFORE, [id]);
  }

  private query<Row extends object>(name: string, text: string, values: unknown[]): Promise<Row[]> {
    return withClient(this.database.pool, (client) => queryPrepared<Row>(client, name, text, values));
  }
}

import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { newId, queryPrepared, withClient } from '@waypost/runtime';
import { IsNull, Not, Raw, type Repository } from 'typeorm';
import { Database } from '../database/database.js';
import { ScrubEntity, type ScrubProgress, type ScrubTrigger } from '../database/entities/scrub.entity.js';
import { type Drift, recordDrift } from '../state/record-drift.js';
import * as sql from './scrub.sql.js';

/** A scrub, and what it has read. */
export type Scrub = Pick<ScrubEntity, 'id' | 'trigger' | 'startedAt' | 'tables' | 'chunks' | 'rows' | 'rawBytes'> & {
  progress: ScrubProgress;
};

const FACTS = { id: true, trigger: true, startedAt: true, tables: true, chunks: true, rows: true, rawBytes: true, progress: true } as const;

/** waypost.edge_scrubs and edge_drifts: each scrub, and what it found. */
@Injectable()
export class ScrubLog {
  constructor(
    private readonly database: Database,
    @InjectRepository(ScrubEntity) private readonly scrubs: Repository<ScrubEntity>,
  ) {}

  /** Begins a scrub. A scheduled one goes on with one that was interrupted, where that began less than `maxAgeMs` ago and no later one came to its end. */
  async begin(trigger: ScrubTrigger, maxAgeMs: number): Promise<Scrub> {
    const unfinished = trigger === 'schedule' ? await this.findUnfinished(maxAgeMs) : null;
    if (unfinished) return scrubOf(unfinished);
    const id = newId();
    await this.scrubs.insert({ id, trigger, startedAt: () => 'clock_timestamp()' });
    return scrubOf(await this.scrubs.findOneOrFail({ select: FACTS, where: { id } }));
  }

  private findUnfinished(maxAgeMs: number): Promise<ScrubEntity | null> {
    const isRecent = Raw((column) => `${column} > greatest(clock_timestamp() - :maxAgeMs * interval '1 ms', ${sql.LATEST_COMPLETE})`, {
      maxAgeMs,
    });
    return this.scrubs.findOne({
      select: FACTS,
      where: { completedAt: IsNull(), progress: Not(IsNull()), startedAt: isRecent },
      order: { startedAt: 'DESC' },
    });
  }

  /** How long until the next scheduled one is due. */
  async findDueMs(intervalMs: number, maxAgeMs: number): Promise<number> {
    const [row] = await this.query<{ dueMs: number }>('scrub-due', sql.FIND_DUE, [intervalMs, maxAgeMs]);
    return row!.dueMs;
  }

  /** What the scrub has read so far. @param isComplete it is at its end */
  async record({ id, tables, chunks, rows, rawBytes, progress }: Scrub, isComplete = false): Promise<void> {
    const read = { tables, chunks, rows, rawBytes };
    await this.scrubs.update(id, isComplete ? { ...read, progress: null, completedAt: () => 'clock_timestamp()' } : { ...read, progress });
  }

  /** @param isDue the next cycle reads the table again, whenever that is, and puts it right */
  async recordDrift({ id }: Scrub, drift: Drift, isDue: boolean): Promise<void> {
    if (isDue) return withClient(this.database.pool, (client) => recordDrift(client, id, drift));
    const { table, chunks, firstKey, lastKey } = drift;
    await this.query('note-drift', sql.NOTE_DRIFT, [id, table, chunks, firstKey, lastKey]);
  }

  /** In how many scrubs in a row, this one included, a key range has drifted. */
  async countStreak({ id }: Scrub, { table, firstKey, lastKey }: Drift): Promise<number> {
    const [row] = await this.query<{ streak: number }>('count-streak', sql.COUNT_STREAK, [id, table, firstKey, lastKey]);
    return row!.streak + 1;
  }

  /** All rows of a table were read since then, and are those that were verified last. */
  async recordWhole(table: string, since: string): Promise<void> {
    await this.query('record-whole', sql.RECORD_WHOLE, [table, since]);
  }

  async recordRepair({ id }: Scrub, cycleId: string): Promise<void> {
    await this.scrubs.update(id, { repairCycleId: cycleId });
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

/** As plain facts: reports spread them. */
function scrubOf(entity: ScrubEntity): Scrub {
  return { ...entity, progress: entity.progress ?? { done: [] } };
}

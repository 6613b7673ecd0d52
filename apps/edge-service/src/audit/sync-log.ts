import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Not, Repository } from 'typeorm';
import { SyncLogEntity, type SyncStatus } from '../database/entities/sync-log.entity.js';
import { FAIL_CYCLE, TOTALS } from './audit.sql.js';

export interface TableOutcome {
  name: string;
  rowCount: number;
  sha256: string;
  action: 'loaded' | 'unchanged';
  /** How a loaded one came: what changed in its chunks, those of its chunks that the device did not have, or all of it. */
  way?: 'delta' | 'chunks' | 'whole';
  /** Why more came than what changed. */
  reason?: string;
  downloadedBytes: number;
}

export interface CycleOutcome {
  cycleId: string;
  status: Exclude<SyncStatus, 'Running'>;
  durationMs: number;
  manifestId: string | undefined;
  downloadedBytes: number;
  rowsLoaded: number;
  tables?: readonly TableOutcome[];
}

export interface CycleFailure extends CycleOutcome {
  startedAt: Date;
  trigger: string;
  error: { code: string; text: string };
}

export interface Totals {
  cycles: number;
  successful: number;
  unchanged: number;
  failed: number;
  /** Loaded, over all cycles. */
  rows: number;
}

/** waypost.edge_sync_log and edge_sync_tables: one row per cycle, whatever became of it. */
@Injectable()
export class SyncLog {
  /** How cycles ended while the database did not take it: written down when it is back. */
  private readonly unwritten: CycleFailure[] = [];

  constructor(@InjectRepository(SyncLogEntity) private readonly cycles: Repository<SyncLogEntity>) {}

  /**
   * Closes a failed cycle's row, unless its transaction did commit before something broke. Where the database is away, it throws, and
   * `flushFailures` before the next cycle tells the true reason.
   * @returns false where the row tells of that commit
   */
  async fail(outcome: CycleFailure): Promise<boolean> {
    this.unwritten.push(outcome);
    return this.flushFailures();
  }

  /**
   * Failures that could not be written when they happened.
   * @returns whether the last of them closed its row
   */
  async flushFailures(): Promise<boolean> {
    let closed = 0;
    for (let next = this.unwritten[0]; next; next = this.unwritten[0]) {
      closed = (await this.cycles.query<unknown[]>(FAIL_CYCLE, failureParameters(next))).length;
      this.unwritten.shift();
    }
    return closed > 0;
  }

  async findLast(): Promise<SyncLogEntity | undefined> {
    const [last] = await this.cycles.find({ where: { status: Not('Running') }, order: { startedAt: 'DESC' }, take: 1 });
    return last;
  }

  /** Over all cycles that ever were: restarts and pruned ones included. */
  async totals(): Promise<Totals> {
    const [row] = await this.cycles.query<[Record<keyof Totals, string>]>(TOTALS);
    return {
      cycles: Number(row.cycles),
      successful: Number(row.successful),
      unchanged: Number(row.unchanged),
      failed: Number(row.failed),
      rows: Number(row.rows),
    };
  }
}

/** $1…$8 of FINISH_CYCLE. */
export function outcomeParameters({ cycleId, status, manifestId, downloadedBytes, rowsLoaded, durationMs }: CycleOutcome): unknown[] {
  return [cycleId, status, manifestId ?? null, null, null, downloadedBytes, rowsLoaded, durationMs];
}

/** The parameters of insertTables but for the first. */
export function tableParameters(tables: readonly TableOutcome[]): unknown[][] {
  return [
    tables.map(({ name }) => name),
    tables.map(({ rowCount }) => rowCount),
    tables.map(({ sha256 }) => sha256),
    tables.map(({ action }) => action),
    tables.map(({ downloadedBytes }) => downloadedBytes),
    tables.map(({ way }) => way ?? null),
    tables.map(({ reason }) => reason ?? null),
  ];
}

function failureParameters({ error, startedAt, trigger, ...outcome }: CycleFailure): unknown[] {
  const { cycleId, status, manifestId, downloadedBytes, rowsLoaded, durationMs } = outcome;
  return [cycleId, status, manifestId ?? null, error.code, error.text, downloadedBytes, rowsLoaded, durationMs, startedAt, trigger];
}

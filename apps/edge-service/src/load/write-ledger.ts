import { WaypostError } from '@waypost/contracts';
import { queryPrepared, SqlState, sqlStateOf } from '@waypost/runtime';
import type pg from 'pg';
import { COUNT_WRITES, FIND_CAUSES, FIND_WRITES, TRACK_COUNTS } from './write-ledger.sql.js';

/** No table has this oid: no foreign key counts. */
const NO_TABLE = 0;

/** Rows that statements of the load wrote to a table, by their own row counts. */
export interface RowCounts {
  inserted: number;
  updated: number;
  deleted: number;
}

/** A table with more, or other, writes than the load meant. */
export interface SideEffect {
  oid: number;
  /** As SQL names it. */
  name: string;
}

interface WritesRow {
  root: string;
  name: string;
  inserted: string;
  updated: string;
  deleted: string;
  locked: boolean;
}

/**
 * Accounts for every write of a transaction: what PostgreSQL counted, for each table of the database, against what the load's own statements wrote.
 * The difference is what triggers, foreign keys' actions and rules did.
 *
 * Limits: PostgreSQL counts what was attempted, so that work which a trigger itself rolled back shows as a write, too. Foreign tables, other databases
 * (dblink) and sequences are not counted.
 */
export class WriteLedger {
  private readonly meant = new Map<number, RowCounts>();
  /** Emptied by TRUNCATE, or altered, by the load itself. */
  private readonly locked = new Set<number>();

  private constructor(
    private readonly client: pg.ClientBase,
    private before: string,
    private readonly counts: boolean,
  ) {}

  /** Call it in the transaction, before its first write. */
  static async open(client: pg.ClientBase): Promise<WriteLedger> {
    const first = await countWrites(client);
    if (first.tracked) return new WriteLedger(client, first.counts, true);
    const tracked = await switchOn(client);
    return new WriteLedger(client, first.counts, tracked);
  }

  /** Notes what a statement of the load wrote. @param oid of the table; of the root where it is partitioned */
  note(oid: number, { inserted = 0, updated = 0, deleted = 0 }: Partial<RowCounts>): void {
    const sum = this.meant.get(oid) ?? { inserted: 0, updated: 0, deleted: 0 };
    this.meant.set(oid, { inserted: sum.inserted + inserted, updated: sum.updated + updated, deleted: sum.deleted + deleted });
  }

  /** Notes that the load itself truncates or alters a table. */
  noteLock(oid: number): void {
    this.locked.add(oid);
  }

  /** What is counted now: for `discount`. */
  async mark(): Promise<string> {
    return (await countWrites(this.client)).counts;
  }

  /** What was counted since the mark was rolled back: PostgreSQL counts it all the same. */
  async discount(mark: string): Promise<void> {
    type Numbers = Record<string, [number, number, number, string]>;
    const [before, marked, now] = [this.before, mark, await this.mark()].map((text) => JSON.parse(text) as Numbers) as [
      Numbers,
      Numbers,
      Numbers,
    ];
    for (const [oid, [inserted, updated, deleted]] of Object.entries(now)) {
      const [first, then] = [before[oid], marked[oid]];
      if (!first || !then) continue;
      first[0] += inserted - then[0];
      first[1] += updated - then[1];
      first[2] += deleted - then[2];
    }
    this.before = JSON.stringify(before);
  }

  /**
   * @returns the tables that were written to otherwise than noted
   * @throws WaypostError SIDE_EFFECT where PostgreSQL does not count and something is there that could write elsewhere
   */
  async findSideEffects(): Promise<SideEffect[]> {
    if (!this.counts) {
      await this.requireNoCauses();
      return [];
    }
    const rows = await queryPrepared<WritesRow>(this.client, 'writes', FIND_WRITES, [this.before]);
    return rows.filter((row) => !this.isMeant(row)).map(({ root, name }) => ({ oid: Number(root), name }));
  }

  /** Triggers, foreign keys and rules on what the load wrote to that can have written to a table. */
  async findCauses(oid: number | null): Promise<string[]> {
    const written = [...new Set([...this.meant.keys(), ...this.locked])];
    return (await this.client.query<{ cause: string }>(FIND_CAUSES, [written, oid])).rows.map(({ cause }) => cause);
  }

  /** Triggers and rules of a table. */
  async findTriggers(oid: number): Promise<string[]> {
    return (await this.client.query<{ cause: string }>(FIND_CAUSES, [[oid], NO_TABLE])).rows.map(({ cause }) => cause);
  }

  private isMeant(row: WritesRow): boolean {
    const oid = Number(row.root);
    const meant = this.meant.get(oid) ?? { inserted: 0, updated: 0, deleted: 0 };
    // A row that moves to another partition counts as deleted there and inserted here.
    const moved = meant.updated - Number(row.updated);
    const inserted = Number(row.inserted) - moved;
    const deleted = Number(row.deleted) - moved;
    // After TRUNCATE the counts start again, from zero.
    return moved >= 0 && inserted === meant.inserted && deleted === meant.deleted && (!row.locked || this.locked.has(oid));
  }

  private async requireNoCauses(): Promise<void> {
    const causes = await this.findCauses(null);
    if (causes.length === 0) return;
    throw new WaypostError('SIDE_EFFECT', {
      detail: `PostgreSQL does not count writes (track_counts is off), so what these do cannot be accounted for: ${causes.join(', ')}.`,
      hint: 'Switch track_counts on in the device’s server (it is by default), or GRANT SET ON PARAMETER track_counts to the service’s role.',
    });
  }
}

async function countWrites(client: pg.ClientBase): Promise<{ counts: string; tracked: boolean }> {
  const [counted] = await queryPrepared<{ counts: string; tracked: boolean }>(client, 'counts', COUNT_WRITES, []);
  return counted!;
}

async function switchOn(client: pg.ClientBase): Promise<boolean> {
  await client.query('SAVEPOINT waypost_counts');
  try {
    await client.query(TRACK_COUNTS);
    return true;
  } catch (error) {
    if (sqlStateOf(error) !== SqlState.insufficientPrivilege) throw error;
    await client.query('ROLLBACK TO SAVEPOINT waypost_counts');
    return false;
  }
}

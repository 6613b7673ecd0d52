import type pg from 'pg';
import { DESCRIBE_FOREIGN_KEY } from './catalog.sql.js';
import type { LocalReference } from './local-references.js';
import type { MergedTable } from './merged-table.js';
import * as sql from './merge.sql.js';
import type { WriteLedger } from './write-ledger.js';

interface Constraint {
  table: string;
  name: string;
  definition: string;
  comment: string | null;
}

/**
 * Foreign keys between mirrored tables that are dropped while rows are written, and added again and checked before COMMIT. Where a referenced value passes from one row
 * to another, their actions follow the row that had it, while the mirror's rows say which one has it now. Foreign keys of the device's own tables stay.
 */
export class SuspendedForeignKeys {
  private readonly suspended = new Map<LocalReference, Constraint>();

  /** @param tables those that are merged: each of their writes and locks is accounted for; the others are read again */
  constructor(
    private readonly client: pg.ClientBase,
    private readonly references: readonly LocalReference[],
    private readonly tables: readonly MergedTable[],
    private readonly ledger: WriteLedger,
  ) {}

  /** The foreign keys that are in force. */
  get active(): readonly LocalReference[] {
    return this.references.filter((reference) => !this.suspended.has(reference));
  }

  /** Drops those between mirrored tables that a condition holds for. Readers of both tables wait from here to COMMIT. */
  async suspend(isWanted: (reference: LocalReference) => boolean | Promise<boolean>): Promise<void> {
    for (const reference of this.active.filter(({ from }) => from !== undefined)) {
      if (!(await isWanted(reference))) continue;
      const constraint = (await this.client.query<Constraint>(DESCRIBE_FOREIGN_KEY, [reference.oid])).rows[0]!;
      await this.settle();
      await this.client.query(`ALTER TABLE ${constraint.table} DROP CONSTRAINT ${constraint.name}`);
      this.suspended.set(reference, constraint);
      for (const { table, local } of this.tables) {
        if (table.name === reference.to || table.name === reference.from) this.ledger.noteLock(local.oid);
      }
    }
  }

  /** Adds them again as they were; PostgreSQL checks all rows of their tables. */
  async restore(): Promise<void> {
    if (this.suspended.size > 0) await this.settle();
    for (const { table, name, definition, comment } of this.suspended.values()) {
      await this.client.query(`ALTER TABLE ${table} ADD CONSTRAINT ${name} ${definition}`);
      if (comment !== null) await this.client.query(`COMMENT ON CONSTRAINT ${name} ON ${table} IS ${this.client.escapeLiteral(comment)}`);
    }
    this.suspended.clear();
  }

  /** PostgreSQL alters no table of which deferred checks are waiting. */
  private async settle(): Promise<void> {
    await this.client.query('SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED');
  }
}

/** Whether a value that a foreign key between mirrored tables references leaves one row and is taken by another, or is written otherwise in the same row. */
export async function passesOn(client: pg.ClientBase, tables: readonly MergedTable[], reference: LocalReference): Promise<boolean> {
  const { to, columns, actsOnDelete, actsOnUpdate, equal } = reference;
  const merged = tables.find(({ table, staged }) => staged && table.name === to);
  if (!merged || !(actsOnDelete || actsOnUpdate)) return false;
  const { key } = merged.table;
  // A row that has another key is another row.
  if (!actsOnUpdate && columns.every((name) => key.includes(name))) return false;
  if (columns.some((name) => !merged.table.columns.some((column) => column.name === name))) return true;
  const { rows } = await client.query<{ passes: boolean }>(sql.findPassingValues(merged, columns, equal));
  return rows[0]!.passes;
}

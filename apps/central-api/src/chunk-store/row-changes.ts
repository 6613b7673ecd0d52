import { Injectable } from '@nestjs/common';
import type { RowChange } from '@waypost/contracts';
import { LRUCache } from 'lru-cache';
import type { SnapshotId } from './snapshot-store.js';

/** More of a table is read from its chunks when it is needed. */
export const MAX_NOTED_BYTES = 1 << 20;
const RECENT = { maxSize: 8 << 20, maxEntrySize: 2 * MAX_NOTED_BYTES };
/** Of an object with three views. */
const OVERHEAD_BYTES = 400;

/** All rows in which a table differs from an earlier content of it. */
export interface KnownChanges {
  /** Places of the key's columns among the rows' columns. */
  keyFields: readonly number[];
  /** Each once. */
  rows: readonly RowChange[];
  /** Length of the frames of the whole table. */
  frameBytes: number;
}

/**
 * Which rows differ between a table as it was read and as it was read before: what central knows anyway once it has put changed rows in their places. This process
 * remembers the last ones. Everything works without it, by reading the chunks of both.
 */
@Injectable()
export class RowChanges {
  private readonly recent = new LRUCache<string, KnownChanges>({ ...RECENT, sizeCalculation: sizeOf });

  note(base: SnapshotId, table: SnapshotId, changes: KnownChanges): void {
    this.recent.set(nameOf(base, table), changes);
  }

  find(base: SnapshotId, table: SnapshotId): KnownChanges | undefined {
    return this.recent.get(nameOf(base, table));
  }
}

function nameOf(base: SnapshotId, table: SnapshotId): string {
  return `${base.sha256} ${table.sha256} ${table.format}`;
}

function sizeOf({ rows }: KnownChanges): number {
  return rows.reduce((sum, { before, after }) => sum + OVERHEAD_BYTES + (before?.length ?? 0) + (after?.length ?? 0), 1);
}

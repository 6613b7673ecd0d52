import { Injectable } from '@nestjs/common';
import type { RowChange } from '@waypost/contracts';
import { LRUCache } from 'lru-cache';
import type { SnapshotId } from './snapshot-store.js';

/** More of a table is read from its chunks when it is needed. */
export const MAX_NOTED_BYTES = 1 << 20;
const RECENT = { maxSize: 8 << 20, maxEntrySize: 2 * MAX_NOTED_BYTES };
/** Of an object with three views. */
const OVERHEAD_BYTES = 400;

/**
 * Which rows differ between a table as it was read and as it was read before: what central knows anyway once it has put changed rows in their places. This process
 * remembers the last ones. Everything works without it, by reading the chunks of both.
 */
@Injectable()
export class RowChanges {
  private readonly recent = new LRUCache<string, readonly RowChange[]>({ ...RECENT, sizeCalculation: sizeOf });

  /** @param changes all of them, each once */
  note(base: SnapshotId, table: SnapshotId, changes: readonly RowChange[]): void {
    this.recent.set(nameOf(base, table), changes);
  }

  find(base: SnapshotId, table: SnapshotId): readonly RowChange[] | undefined {
    return this.recent.get(nameOf(base, table));
  }
}

function nameOf(base: SnapshotId, table: SnapshotId): string {
  return `${base.sha256} ${table.sha256} ${table.format}`;
}

function sizeOf(changes: readonly RowChange[]): number {
  return changes.reduce((sum, { before, after }) => sum + OVERHEAD_BYTES + (before?.length ?? 0) + (after?.length ?? 0), 1);
}

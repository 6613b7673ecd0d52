import type { Query } from '@waypost/runtime';
import { FIND_HELD_BACK, RELEASE } from './held-tables.sql.js';

/** A table that lost more rows than MAX_SHRINK allows: its device gets no manifest until an operator consents. */
export interface HeldTable {
  mac: string;
  table: string;
  rowsBefore: number;
  rowsNow: number;
  firstHeldAt: Date;
  heldForMs: number;
}

export function findHeldTables(query: Query): Promise<HeldTable[]> {
  return query<HeldTable>(FIND_HELD_BACK);
}

/**
 * Consents to the loss as it is now.
 * @param tables as the plan spells them
 * @param mac null for all devices
 * @returns what was released
 */
export function releaseTables(query: Query, tables: readonly string[], mac: string | null, operator: string): Promise<HeldTable[]> {
  return query<HeldTable>(RELEASE, [tables, mac, operator]);
}

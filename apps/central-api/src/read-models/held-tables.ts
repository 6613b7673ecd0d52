import type { Query } from '@waypost/runtime';
import { IS_HELD_BACK } from '../metrics/fleet.sql.js';

const FACTS = `
  mac, table_name AS "table", rows_before::float8 AS "rowsBefore", rows_now::float8 AS "rowsNow", first_held_at AS "firstHeldAt",
  (1000 * extract(epoch FROM now() - first_held_at))::float8 AS "heldForMs"`;

const FIND_HELD_BACK = `SELECT ${FACTS} FROM waypost.held_shrinks WHERE ${IS_HELD_BACK} ORDER BY table_name, mac`;

/** $1: tables as the plan spells them, $2: MAC, or null for all, $3: who consents. */
const RELEASE = `
  UPDATE waypost.held_shrinks SET released_at = now(), released_by = $3 || ', role ' || session_user
  WHERE table_name = ANY($1::text[]) AND ($2::text IS NULL OR mac = $2) AND ${IS_HELD_BACK}
  RETURNING ${FACTS}`;

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

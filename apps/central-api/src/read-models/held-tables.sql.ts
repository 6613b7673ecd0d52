import { IS_HELD_BACK } from '../metrics/fleet.sql.js';

const FACTS = `
  mac, table_name AS "table", rows_before::float8 AS "rowsBefore", rows_now::float8 AS "rowsNow", first_held_at AS "firstHeldAt",
  (1000 * extract(epoch FROM now() - first_held_at))::float8 AS "heldForMs"`;

export const FIND_HELD_BACK = `SELECT ${FACTS} FROM waypost.held_shrinks WHERE ${IS_HELD_BACK} ORDER BY table_name, mac`;

/** $1: tables as the plan spells them, $2: MAC, or null for all, $3: who consents. */
export const RELEASE = `
  UPDATE waypost.held_shrinks SET released_at = now(), released_by = $3 || ', role ' || session_user
  WHERE table_name = ANY($1::text[]) AND ($2::text IS NULL OR mac = $2) AND ${IS_HELD_BACK}
  RETURNING ${FACTS}`;

import { UNREPORTED_DRIFTS } from '../acks/acks.sql.js';
import { FINISH_CYCLE, insertTables } from '../audit/audit.sql.js';
import { RETAINED_ROWS } from '../state/retained-rows.js';
import { recordState } from '../state/state.sql.js';

/** Central gets an ack of the commit, which must survive a power failure, whatever the device's server is set to. */
export const COMMIT_DURABLY = "SELECT set_config('synchronous_commit', 'local', true) WHERE current_setting('synchronous_commit') = 'off'";

/**
 * Writes down, in the transaction that changes the mirror, that it is the manifest's now: the row of the cycle says Success if and only if the data is there.
 * $1…$8: as FINISH_CYCLE, $9…$15: as insertTables, from $16 on as recordState.
 */
export const RECORD_CYCLE = `
  WITH durable AS MATERIALIZED (${COMMIT_DURABLY}), cycle AS (${FINISH_CYCLE}), tables AS (${insertTables(9)}), ${recordState(16)}
  SELECT (SELECT count(*) FROM durable), (SELECT count(*)::int FROM ${RETAINED_ROWS}) AS "keptRows", (SELECT json_agg(d) FROM (${UNREPORTED_DRIFTS}) AS d) AS drifts`;

/**
 * Writes down that the device still holds its manifest, as one transaction. $1…$8: as FINISH_CYCLE, $9…$15: as insertTables, $16: verified_at.
 */
export const CONFIRM_CYCLE = `
  WITH state AS (UPDATE waypost.edge_sync_state SET value = $16 WHERE key = 'verified_at'), cycle AS (${FINISH_CYCLE}),
  tables AS (${insertTables(9)})
  ${COMMIT_DURABLY}`;

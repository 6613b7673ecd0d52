import { FINISH_CYCLE, insertTables } from '../audit/audit.sql.js';

/** Central gets an ack of the commit, which must survive a power failure, whatever the device's server is set to. */
export const COMMIT_DURABLY = "SELECT set_config('synchronous_commit', 'local', true) WHERE current_setting('synchronous_commit') = 'off'";

/**
 * Writes down that the device still holds its manifest, as one transaction. $1…$8: as FINISH_CYCLE, $9…$15: as insertTables, $16: verified_at.
 */
export const CONFIRM_CYCLE = `
  WITH state AS (UPDATE waypost.edge_sync_state SET value = $16 WHERE key = 'verified_at'), cycle AS (${FINISH_CYCLE}),
  tables AS (${insertTables(9)})
  ${COMMIT_DURABLY}`;

import { COUNT_ACKS } from '../acks/acks.sql.js';
import { BEGIN_CYCLE, FAIL_INTERRUPTED } from '../audit/audit.sql.js';
import { APPLIED_STATE } from '../state/state.sql.js';

/**
 * Opens a cycle: closes the rows of cycles whose process died, and reads what is to be known. Nothing waits for the disk: a power failure may lose the
 * record that a cycle began, and nothing else. $1: id, $2: what triggered it.
 */
export const OPEN_CYCLE = `
  WITH interrupted AS (${FAIL_INTERRUPTED}), begun AS (${BEGIN_CYCLE})
  SELECT (SELECT count(*) FROM interrupted)::int AS interrupted, (${APPLIED_STATE}) AS state, pending, refused,
         set_config('synchronous_commit', 'off', true)
  FROM (${COUNT_ACKS}) AS acks`;

import { PRUNED_BEFORE } from '../epochs/central-state.sql.js';
import { HAS_FINDING } from './findings.sql.js';

/** What is recorded of relations and a snapshot has not seen. $1: oids of relations, $2: the snapshot. */
const CHANGES = `
  FROM waypost.changes c
  WHERE c.relation = ANY($1::oid[]) AND c.xid >= pg_snapshot_xmin($2::pg_snapshot) AND NOT pg_visible_in_snapshot(c.xid, $2::pg_snapshot)`;

/**
 * Reads that were right in the snapshot `seen`, and all that was changed since is still recorded. $1: keys, $2: epoch, $3: fingerprint.
 */
export const FIND_EARLIER = `
  SELECT r.key, r.sha256, r.format, r.seen::text AS seen FROM waypost.table_reads r
  WHERE r.key = ANY($1::text[]) AND r.epoch = $2 AND r.watch = $3 AND NOT ${HAS_FINDING}
    AND pg_snapshot_xmin(r.seen) >= coalesce((SELECT value::xid8 FROM waypost.central_state WHERE key = '${PRUNED_BEFORE}'), '0')
    AND NOT EXISTS (SELECT FROM waypost.table_contents content WHERE content.sha256 = r.sha256 AND content.format = r.format AND content.unneeded)`;

/** How many keys are recorded, and whether for a statement none are. Parameters: as of CHANGES. */
export const MEASURE_CHANGES = `
  SELECT c.relation::int8::text AS relation, c.relation::regclass::text AS name, bool_or(c.keys IS NULL) AS "isUnlisted",
         coalesce(sum(cardinality(c.keys)), 0)::float8 AS keys ${CHANGES} GROUP BY c.relation`;

/** Parameters: as of CHANGES. */
export const READ_CHANGED_KEYS = `SELECT DISTINCT c.relation::int8::text AS relation, unnest(c.keys) AS key ${CHANGES}`;

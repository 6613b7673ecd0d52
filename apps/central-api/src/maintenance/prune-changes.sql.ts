import { PRUNED_BEFORE } from '../epochs/central-state.sql.js';

export const PRUNE_READS = "DELETE FROM waypost.table_reads WHERE used_at < now() - interval '1 day'";

/** Snapshots that are taken from now on see all that transactions before this one changed. */
export const READ_HORIZON = 'SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS xid';

/**
 * What transactions before this one changed was seen by every live manifest and table read, and will be by every later one. $1: what READ_HORIZON gave;
 * every build that was in progress then must have ended since: its own snapshot may be older. It is written down before anything is pruned: which
 * manifests are live is told by a clock, which may be wrong, and the others must never pass for current.
 */
export const READ_SEEN_BY_ALL = `
  INSERT INTO waypost.central_state
  SELECT '${PRUNED_BEFORE}', least($1::xid8,
               (SELECT min(pg_snapshot_xmin(seen)) FROM waypost.manifests WHERE expires_at > now()),
               (SELECT min(pg_snapshot_xmin(seen)) FROM waypost.table_reads))::text
  ON CONFLICT (key) DO UPDATE SET value = greatest(central_state.value::xid8, excluded.value::xid8)::text
  RETURNING value AS xid`;

/** $1: what READ_SEEN_BY_ALL gave, $2: how many at most. */
export const PRUNE_CHANGES = `
  WITH pruned AS (
    DELETE FROM waypost.changes WHERE ctid = ANY(ARRAY(SELECT ctid FROM waypost.changes WHERE xid < $1::xid8 LIMIT $2)) RETURNING 1
  )
  SELECT count(*)::int AS pruned FROM pruned`;

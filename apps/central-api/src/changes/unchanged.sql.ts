/** What a transaction sees, for the manifest that is made from it. $1: relations. */
export const READ_SEEN = 'SELECT pg_current_snapshot()::text AS seen';

/** $1: the manifest's id, $2: what it was made from, $3: the fingerprint. */
export const NOTE_SEEN = 'UPDATE waypost.manifests SET seen = $2::pg_snapshot, watch = $3 WHERE manifest_id = $1';

/**
 * The device's last manifest, if it is the one that the device holds, and whether any change to the tables it came from is visible now that it has
 * not seen. One statement has one snapshot: a change is missed only by not being committed yet, and then the next request finds it.
 * $1: the device's MAC, $2: the manifest's id, $3: epoch, $4: fingerprint, $5: oids of the tables.
 */
export const FIND_UNCHANGED = `
  SELECT m.document, m.expires_at AS "expiresAt" FROM waypost.manifests m
  WHERE m.manifest_id = $2 AND m.mac = $1 AND m.epoch = $3 AND m.watch = $4
    AND NOT EXISTS (SELECT FROM waypost.manifests later WHERE later.mac = $1 AND later.epoch = $3 AND later.sequence > m.sequence)
    AND NOT EXISTS (SELECT FROM waypost.changes c WHERE c.relation = ANY($5::oid[]) AND c.xid >= pg_snapshot_xmin(m.seen)
                    AND NOT pg_visible_in_snapshot(c.xid, m.seen))`;

/** Every live manifest has seen what transactions before this one changed, and every later one will. Nobody may be building one meanwhile. */
export const READ_SEEN_BY_ALL = `
  SELECT least(pg_snapshot_xmin(pg_current_snapshot()), min(pg_snapshot_xmin(seen)))::text AS xid FROM waypost.manifests WHERE expires_at > now()`;

/** $1: what READ_SEEN_BY_ALL gave, $2: how many at most. */
export const PRUNE_CHANGES = `
  WITH pruned AS (
    DELETE FROM waypost.changes WHERE ctid = ANY(ARRAY(SELECT ctid FROM waypost.changes WHERE xid < $1::xid8 LIMIT $2)) RETURNING 1
  )
  SELECT count(*)::int AS pruned FROM pruned`;

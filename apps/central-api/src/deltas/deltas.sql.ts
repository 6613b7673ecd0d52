/** $1: hash of the base, $2: hash, $3: format. */
export const FIND_DELTA = `
  SELECT delta_id AS "deltaId", head_bytes AS "headBytes", bytes::float8 AS bytes, reason FROM waypost.table_deltas
  WHERE base_sha256 = $1 AND sha256 = $2 AND format = $3`;

/** All deltas that lead to one content may have so many bytes: a device may name any of its manifests as the base. */
export const MAX_KEPT_BYTES = 64 << 20;

/** $1: id of the delta, $2: where each part begins, $3: the parts. */
export const ADD_PARTS = `
  INSERT INTO waypost.delta_parts (delta_id, start, bytes) SELECT $1, * FROM unnest($2::bigint[], $3::bytea[])`;

const MAY_BE_KEPT = `
  FROM waypost.table_contents WHERE sha256 = $2 AND format = $3
    AND (SELECT coalesce(sum(d.bytes), 0) FROM waypost.table_deltas d WHERE d.sha256 = $2 AND d.format = $3) < ${MAX_KEPT_BYTES}
  ON CONFLICT (sha256, format, base_sha256) DO NOTHING`;

/**
 * A delta with its last parts; nothing where another process has made it first, or where the content that it leads to is gone or has many deltas.
 * $4: id, $5: length of its head, $6: its length, $7: where each part begins, $8: the parts.
 */
export const KEEP_DELTA = `
  WITH kept AS (
    INSERT INTO waypost.table_deltas (base_sha256, sha256, format, delta_id, head_bytes, bytes)
    SELECT $1, sha256, format, $4, $5::integer, $6::bigint ${MAY_BE_KEPT} RETURNING delta_id
  ), parts AS (
    INSERT INTO waypost.delta_parts (delta_id, start, bytes) SELECT delta_id, part.* FROM kept, unnest($7::bigint[], $8::bytea[]) AS part
  )
  SELECT delta_id AS "deltaId" FROM kept`;

/** $4: why there is none. */
export const KEEP_REASON = `
  INSERT INTO waypost.table_deltas (base_sha256, sha256, format, reason) SELECT $1, sha256, format, $4 ${MAY_BE_KEPT}`;

/** $1: id, $2: position, counted as parts are. What there is from there to the end of its part. */
export const READ_PART = `
  SELECT substr(bytes, ($2::bigint - start + 1)::integer) AS bytes FROM waypost.delta_parts WHERE delta_id = $1 AND start <= $2
  ORDER BY start DESC LIMIT 1`;

/** $1: id. */
export const REMOVE_PARTS = 'DELETE FROM waypost.delta_parts WHERE delta_id = $1';

/** Those that lead to nothing that is stored, and parts of those that were never finished. $1: ms after which they will not be. */
export const REMOVE_DELTAS = [
  `WITH removed AS (
     DELETE FROM waypost.table_deltas d
     WHERE NOT EXISTS (SELECT FROM waypost.table_contents content WHERE content.sha256 = d.sha256 AND content.format = d.format) RETURNING delta_id
   )
   DELETE FROM waypost.delta_parts WHERE delta_id IN (SELECT delta_id FROM removed)`,
  `DELETE FROM waypost.delta_parts part WHERE made_at < now() - $1 * interval '1 ms'
     AND NOT EXISTS (SELECT FROM waypost.table_deltas d WHERE d.delta_id = part.delta_id)`,
] as const;

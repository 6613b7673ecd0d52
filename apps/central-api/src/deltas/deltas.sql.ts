/** $1: hash of the base, $2: hash, $3: format. */
export const FIND_DELTA = 'SELECT bytes, reason FROM waypost.table_deltas WHERE base_sha256 = $1 AND sha256 = $2 AND format = $3';

/** All deltas that lead to one content may have so many bytes: a device may name any of its manifests as the base. */
const MAX_KEPT_BYTES = 64 << 20;

/** $4: the delta, $5: why there is none. Nothing is kept where the content that it leads to is gone, or has many deltas. */
export const KEEP_DELTA = `
  INSERT INTO waypost.table_deltas (base_sha256, sha256, format, bytes, reason)
  SELECT $1, sha256, format, $4::bytea, $5 FROM waypost.table_contents WHERE sha256 = $2 AND format = $3
    AND (SELECT coalesce(sum(octet_length(bytes)), 0) FROM waypost.table_deltas d WHERE d.sha256 = $2 AND d.format = $3) < ${MAX_KEPT_BYTES}
  ON CONFLICT (sha256, format, base_sha256) DO NOTHING`;

/** Those that lead to nothing that is stored. */
export const REMOVE_DELTAS = `
  DELETE FROM waypost.table_deltas d
  WHERE NOT EXISTS (SELECT FROM waypost.table_contents content WHERE content.sha256 = d.sha256 AND content.format = d.format)`;

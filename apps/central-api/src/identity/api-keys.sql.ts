/** $1: ids. */
export const FIND_API_KEYS = `
  SELECT id, name, digest, rights, revoked_at IS NOT NULL AS "isRevoked", expires_at <= now() AS "hasExpired",
         coalesce(last_used_at > now() - interval '1 min', false) AS "wasUsedNow"
  FROM waypost.api_keys WHERE id = ANY ($1::text[])`;

/** $1: ids. */
export const NOTE_USES = `
  UPDATE waypost.api_keys SET last_used_at = now()
  WHERE id = ANY ($1::text[]) AND (last_used_at IS NULL OR last_used_at <= now() - interval '1 min')`;

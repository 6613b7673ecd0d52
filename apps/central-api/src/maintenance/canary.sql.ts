/** $1: table, $2: why it was not checked, or null. */
export const NOTE_CANARY = `
  INSERT INTO waypost.canaries (table_name, checked_at, not_checked) VALUES ($1, CASE WHEN $2::text IS NULL THEN now() END, $2)
  ON CONFLICT (table_name) DO UPDATE SET
    tried_at = excluded.tried_at, checked_at = coalesce(excluded.checked_at, canaries.checked_at), not_checked = excluded.not_checked`;

/** Of tables that were not tried for two days nothing is known. */
export const PRUNE_CANARIES = "DELETE FROM waypost.canaries WHERE tried_at < now() - interval '2 days'";

/** $1: table, $2: what was found. */
export const NOTE_CANARY_FINDING = `
  INSERT INTO waypost.shadow_findings (table_name, found_by, detail) VALUES ($1, 'canary', $2)
  ON CONFLICT (table_name) WHERE cleared_at IS NULL DO NOTHING`;

/** Open findings; and tables of which the last tries said nothing, for a day or ever since they are tried. */
export const COUNT_CANARIES = `
  SELECT (SELECT count(*)::int FROM waypost.shadow_findings WHERE cleared_at IS NULL AND found_by = 'canary') AS findings,
         (SELECT count(*)::int FROM waypost.canaries WHERE not_checked IS NOT NULL AND tried_at > now() - interval '2 days'
            AND (checked_at IS NULL OR checked_at < now() - interval '1 day')) AS unchecked`;

export const READ_CANARY_STATES = `
  SELECT table_name AS "table", tried_at AS "triedAt", checked_at AS "checkedAt", not_checked AS "notChecked" FROM waypost.canaries ORDER BY table_name`;

/** When the latest scrub began that came to its end: one that was interrupted before has nothing more to say. */
export const LATEST_COMPLETE = `coalesce((SELECT max(started_at) FROM waypost.edge_scrubs WHERE completed_at IS NOT NULL), '-infinity')`;

/** How long until the next scheduled scrub. $1: interval in ms, $2: how long one that was interrupted is gone on with, in ms. */
export const FIND_DUE = `
  SELECT CASE WHEN bool_or(completed_at IS NULL AND started_at > clock_timestamp() - $2 * interval '1 ms' AND started_at > ${LATEST_COMPLETE}) THEN 0
              ELSE coalesce(greatest(0, $1 - 1000 * extract(epoch FROM clock_timestamp() - max(completed_at))), 0) END::float8 AS "dueMs"
  FROM waypost.edge_scrubs`;

/** $1: scrub. */
export const DRIFTS_OF = `
  SELECT table_name AS table, chunks, first_key AS "firstKey", last_key AS "lastKey" FROM waypost.edge_drifts WHERE scrub_id = $1 ORDER BY found_at`;

/** A drift for which the next comparison does not read the table again. $1: scrub, $2: table, $3: chunks, $4: key before them, $5: key of the last one. */
export const NOTE_DRIFT = `
  INSERT INTO waypost.edge_drifts (scrub_id, table_name, chunks, first_key, last_key) VALUES ($1, $2, $3, $4, $5)`;

/** In how many scrubs in a row, up to the one before this, a key range had drifted. $1: scrub, $2: table, $3: key before the range, $4: its last key. */
export const COUNT_STREAK = `
  WITH earlier AS (
    SELECT row_number() OVER (ORDER BY started_at DESC) AS back, EXISTS (
             SELECT FROM waypost.edge_drifts d WHERE d.scrub_id = s.id AND d.table_name = $2
               AND d.first_key IS NOT DISTINCT FROM $3::text AND d.last_key IS NOT DISTINCT FROM $4::text) AS drifted
    FROM waypost.edge_scrubs s WHERE id <> $1 AND completed_at IS NOT NULL
  )
  SELECT count(*)::int AS streak FROM earlier
  WHERE back < coalesce((SELECT min(back) FROM earlier WHERE NOT drifted), ${2 ** 31 - 1})`;

/** Whether the scrub before this one found rows of the same key ranges. $1: scrub. */
export const DRIFTED_BEFORE = `
  SELECT now.table_name AS table, now.first_key AS "firstKey", now.last_key AS "lastKey"
  FROM waypost.edge_drifts now JOIN waypost.edge_drifts before
    ON before.table_name = now.table_name AND before.first_key IS NOT DISTINCT FROM now.first_key AND before.last_key IS NOT DISTINCT FROM now.last_key
  WHERE now.scrub_id = $1 AND before.scrub_id = (
    SELECT id FROM waypost.edge_scrubs WHERE id <> $1 AND completed_at IS NOT NULL ORDER BY started_at DESC LIMIT 1)`;

/** $1: table, $2: since when all of it was read. */
export const RECORD_WHOLE = 'UPDATE waypost.edge_mirror_tables SET whole_at = greatest(whole_at, $2) WHERE table_name = $1';

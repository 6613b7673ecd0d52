/**
 * SQL condition: a manifest lives on, which was made with a life of `life` ms: more than half of that is left, yet not more than a whole one, so it was
 * not made while a clock was ahead. Both clocks must say so: PostgreSQL's, by which contents and captured changes are removed, and central's, `time`, by
 * which devices judge what they get.
 */
export function livesOn(manifest: string, { time, life }: { time: string; life: string }): string {
  const [half, whole] = [`${life}::float8 / 2 * interval '1 ms'`, `${life}::float8 * interval '1 ms'`];
  return `${manifest}.expires_at > clock_timestamp() + ${half} AND ${manifest}.expires_at <= clock_timestamp() + ${whole}
      AND ${manifest}.generated_at > ${time}::timestamptz - ${half} AND ${manifest}.generated_at <= ${time}::timestamptz`;
}

/**
 * For each device its last manifest, if that lives on; what is known of tables that were held back, and the last sequence that was given out.
 * $1: MACs, $2: epoch, $3: central's clock, $4: ms of a manifest's life.
 */
export const LAST_MANIFESTS = `
  SELECT asked.mac, CASE WHEN ${livesOn('last', { time: '$3', life: '$4' })} THEN last.document END AS document,
         (SELECT json_agg(json_build_object('table', table_name, 'baseId', base_manifest_id, 'rowsNow', rows_now,
                                            'isReleased', released_at IS NOT NULL, 'isOpen', closed_at IS NULL))
          FROM waypost.held_shrinks held WHERE held.mac = asked.mac) AS shrinks,
         (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM waypost.manifest_sequence)::int8::text AS "lastSequence"
  FROM unnest($1::text[]) AS asked(mac) LEFT JOIN LATERAL (
    SELECT m.document, m.generated_at, m.expires_at FROM waypost.manifests m WHERE m.mac = asked.mac AND m.epoch = $2 ORDER BY m.sequence DESC LIMIT 1
  ) AS last ON true`;

/** $1: how many. The highest comes first. */
export const NEXT_SEQUENCES = "SELECT nextval('waypost.manifest_sequence') AS sequence FROM generate_series(1, $1) ORDER BY 1 DESC";

/** They expire by PostgreSQL's clock. $1: manifests as JSON, $2: what they were made from, or null, $3: the fingerprint, $4: ms of their life. */
export const INSERT_MANIFESTS = `
  INSERT INTO waypost.manifests (manifest_id, epoch, sequence, mac, generated_at, expires_at, sha256, document, seen, watch)
  SELECT m."manifestId", m.epoch, m.sequence, m.device->>'mac', m."generatedAt", clock_timestamp() + $4::float8 * interval '1 ms', m.sha256, document,
         $2::pg_snapshot, $3
  FROM unnest($1::json[]) AS document, json_to_record(document)
    AS m("manifestId" text, epoch text, sequence bigint, device json, "generatedAt" timestamptz, sha256 text)`;

/** $1: a JSON array. */
export const INSERT_TABLES = `
  INSERT INTO waypost.sync_manifests (manifest_id, table_name, generated_at, row_count, sha256, format, filter_desc)
  SELECT "manifestId", name, "generatedAt", "rowCount", sha256, format, filter
  FROM json_to_recordset($1)
    AS t("manifestId" text, name text, "generatedAt" timestamptz, "rowCount" bigint, sha256 text, format text, filter text)`;

/** By the clock that removes what manifests list. $1: manifest id. */
export const READ_MANIFEST = 'SELECT mac, document, expires_at > now() AS "isAlive" FROM waypost.manifests WHERE manifest_id = $1';

/** $1: ids of manifests, $2: what they were made from, $3: the fingerprint. */
export const NOTE_SEEN = 'UPDATE waypost.manifests SET seen = $2::pg_snapshot, watch = $3 WHERE manifest_id = ANY($1::text[])';

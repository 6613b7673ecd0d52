/** What is applied, but for the manifest itself, as one JSON object; null where nothing is. */
export const APPLIED_STATE = `SELECT json_object_agg(key, value) FROM waypost.edge_sync_state WHERE key <> 'manifest'`;

export const READ_MANIFEST = `SELECT value FROM waypost.edge_sync_state WHERE key = 'manifest'`;

/** How old the oldest reading of a whole table is, null where a table never was read as a whole, and the last scrub that came to its end. */
export const READ_COVERAGE = `
  SELECT (SELECT CASE WHEN bool_and(whole_at IS NOT NULL) THEN (1000 * extract(epoch FROM clock_timestamp() - min(whole_at)))::float8 END
          FROM waypost.edge_mirror_tables) AS "wholeAgeMs",
         (SELECT json_build_object(
            'id', s.id, 'trigger', s.trigger, 'startedAt', s.started_at, 'completedAt', s.completed_at, 'tables', s.tables, 'chunks', s.chunks, 'rows', s.rows,
            'driftedChunks', (SELECT coalesce(sum(d.chunks), 0) FROM waypost.edge_drifts d WHERE d.scrub_id = s.id), 'repairCycleId', s.repair_cycle_id)
          FROM waypost.edge_scrubs s WHERE s.completed_at IS NOT NULL ORDER BY s.started_at DESC LIMIT 1) AS "lastScrub"`;

/** A relation's object and file: both change when it is dropped and created, the file also when it is truncated or rewritten. */
const STORAGE_OF = (relation: string): string =>
  `concat_ws('/', to_regclass(${relation})::oid::text, pg_relation_filenode(to_regclass(${relation}))::text)`;

/** What is known of each table, whether its rows still lie where they were hashed, and whether its chunks are stored. */
export const KNOWN_TABLES = `
  SELECT table_name AS name, sha256, row_count AS "rowCount", format, storage = ${STORAGE_OF('relation')} AS intact,
         EXISTS (SELECT FROM waypost.edge_table_chunks c WHERE c.table_name = t.table_name) AS "hasChunks"
  FROM waypost.edge_mirror_tables t`;

/**
 * Parts of a statement that write down what the device holds. Of the state, what is the same already is not written again: the manifest can be long. Tables that
 * left the manifest stay in the database, but their hashes are not maintained any more. From `first` on: the state's keys and values; the manifest's id and the names of its tables; of the tables
 * that were just read back and hashed their names, hashes, row counts, formats, relations, and whether all of their rows were read.
 */
export const recordState = (first: number): string => {
  const [keys, values, manifest, names, ...hashed] = Array.from({ length: 10 }, (_, at) => `$${first + at}`);
  const columns = ['text', 'text', 'bigint', 'text', 'text', 'boolean'].map((type, at) => `${hashed[at]}::${type}[]`).join(', ');
  return `
  state AS (
    INSERT INTO waypost.edge_sync_state (key, value)
    SELECT * FROM unnest(${keys}::text[], ${values}::text[])
    ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE edge_sync_state.value <> excluded.value
  ), forgotten AS (
    DELETE FROM waypost.edge_mirror_tables WHERE table_name <> ALL (${names}::text[])
  ), forgotten_chunks AS (
    DELETE FROM waypost.edge_table_chunks WHERE table_name <> ALL (${names}::text[])
  ), read_back AS (
    INSERT INTO waypost.edge_mirror_tables (table_name, sha256, row_count, format, relation, storage, manifest_id, verified_at, whole_at)
    SELECT t.name, t.sha256, t.row_count, t.format, t.relation, ${STORAGE_OF('t.relation')}, ${manifest}::text, clock_timestamp(), CASE WHEN t.whole THEN clock_timestamp() END
    FROM unnest(${columns}) AS t(name, sha256, row_count, format, relation, whole)
    ON CONFLICT (table_name) DO UPDATE
    SET sha256 = excluded.sha256, row_count = excluded.row_count, format = excluded.format,
        relation = excluded.relation, storage = excluded.storage,
        manifest_id = excluded.manifest_id, verified_at = excluded.verified_at,
        whole_at = coalesce(excluded.whole_at, edge_mirror_tables.whole_at)
  )`;
};

/** Also makes the next comparison read the table again. $1: scrub, if one found it, $2: table, $3: chunks, $4: key before them, $5: key of the last one. */
export const RECORD_DRIFT = `
  WITH doubted AS (UPDATE waypost.edge_mirror_tables SET storage = 'drifted' WHERE table_name = $2)
  INSERT INTO waypost.edge_drifts (scrub_id, table_name, chunks, first_key, last_key) VALUES ($1, $2, $3, $4, $5)`;

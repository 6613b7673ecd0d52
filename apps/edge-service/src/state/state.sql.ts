/** $1: keys, $2: values. */
export const UPSERT_STATE = `
  INSERT INTO waypost.edge_sync_state (key, value)
  SELECT * FROM unnest($1::text[], $2::text[])
  ON CONFLICT (key) DO UPDATE SET value = excluded.value`;

/** Tables whose rows were just read back and hashed. $1: names, $2: hashes, $3: row counts, $4: formats, $5: the manifest. */
export const UPSERT_MIRROR_TABLES = `
  INSERT INTO waypost.edge_mirror_tables (table_name, sha256, row_count, format, manifest_id, verified_at)
  SELECT t.name, t.sha256, t.row_count, t.format, $5, clock_timestamp()
  FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) AS t(name, sha256, row_count, format)
  ON CONFLICT (table_name) DO UPDATE
  SET sha256 = excluded.sha256, row_count = excluded.row_count, format = excluded.format,
      manifest_id = excluded.manifest_id, verified_at = excluded.verified_at`;

/** Tables that left the manifest stay in the database, but nobody vouches for them any more. $1: the manifest's tables. */
export const FORGET_MIRROR_TABLES = 'DELETE FROM waypost.edge_mirror_tables WHERE table_name <> ALL ($1::text[])';

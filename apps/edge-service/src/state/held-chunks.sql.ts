/** $1: the table's name. */
export const READ_PARTS = 'SELECT position, chunks, keys FROM waypost.edge_table_chunks WHERE table_name = $1 ORDER BY position';

/** $1: the table's name, $2: positions of the parts that stay or are written. */
export const DELETE_PARTS = 'DELETE FROM waypost.edge_table_chunks WHERE table_name = $1 AND position <> ALL ($2::int[])';

/** $1: the table's name, $2: positions, $3: their chunks, $4: the keys of these. */
export const UPSERT_PARTS = `
  INSERT INTO waypost.edge_table_chunks (table_name, position, chunks, keys)
  SELECT $1, * FROM unnest($2::int[], $3::bytea[], $4::bytea[])
  ON CONFLICT (table_name, position) DO UPDATE SET chunks = excluded.chunks, keys = excluded.keys`;

/** Tables that left the manifest. $1: the manifest's tables. */
export const FORGET_CHUNKS = 'DELETE FROM waypost.edge_table_chunks WHERE table_name <> ALL ($1::text[])';

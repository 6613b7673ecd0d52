/** $1: the table's name. */
export const READ_PARTS = 'SELECT position, chunks, keys FROM waypost.edge_table_chunks WHERE table_name = $1 ORDER BY position';

/** Parts that neither stay nor are written go. $1: the table's name, $2: positions of those that stay, $3: of those that are written, $4: their chunks, $5: the keys of these. */
export const WRITE_PARTS = `
  WITH gone AS (DELETE FROM waypost.edge_table_chunks WHERE table_name = $1 AND position <> ALL ($2::int[] || $3::int[]))
  INSERT INTO waypost.edge_table_chunks (table_name, position, chunks, keys)
  SELECT $1, * FROM unnest($3::int[], $4::bytea[], $5::bytea[])
  ON CONFLICT (table_name, position) DO UPDATE SET chunks = excluded.chunks, keys = excluded.keys`;

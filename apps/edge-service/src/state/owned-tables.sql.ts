/** $1: relations, as quoteTable spells them. */
export const FIND_OWNED = `
  SELECT relation, table_oid::int8 AS oid, database, how FROM waypost.edge_owned_tables WHERE relation = ANY ($1::text[])`;

/** $1: relations, $2: their oids, null where the table is not there yet, $3: how they came to be Waypost's, $4: the database's identity. */
export const RECORD_OWNED = `
  INSERT INTO waypost.edge_owned_tables AS known (relation, table_oid, database, how)
  SELECT t.relation, t.oid, $4, t.how FROM unnest($1::text[], $2::oid[], $3::text[]) AS t(relation, oid, how)
  ON CONFLICT (relation) DO UPDATE
  SET table_oid = excluded.table_oid, database = excluded.database, how = excluded.how,
      since = CASE WHEN known.how = excluded.how THEN known.since ELSE excluded.since END`;

/** Which of these tables are partitions of, or inherit from, others of them. $1: oids. */
export const FIND_NESTED = `
  WITH RECURSIVE above(part, ancestor) AS (
    SELECT inhrelid, inhparent FROM pg_inherits WHERE inhrelid = ANY ($1::oid[])
    UNION SELECT a.part, h.inhparent FROM above a JOIN pg_inherits h ON h.inhrelid = a.ancestor
  )
  SELECT part::int8, ancestor::int8 FROM above WHERE ancestor = ANY ($1::oid[]) ORDER BY 1, 2`;

/** Rows of inheriting tables and of all partitions count. @param relations quoted names, which cannot be parameters */
export function findEmpty(relations: readonly string[]): string {
  return relations.map((relation, at) => `SELECT ${at} AS position, NOT EXISTS (SELECT FROM ${relation}) AS empty`).join(' UNION ALL ');
}

/** Keeps writers, not readers, out until the transaction ends: what is empty now stays so. */
export function lockAgainstWriters(relations: readonly string[]): string {
  return `LOCK TABLE ${relations.join(', ')} IN SHARE ROW EXCLUSIVE MODE`;
}

/** Tables that are Waypost's and stay when they leave the plan. $1: relations, $2: how the manifest that the device holds describes each, as JSON. */
export const RECORD_LEFT = `
  INSERT INTO waypost.edge_left_tables AS known (relation, table_oid, database, how, contents)
  SELECT relation, table_oid, database, how, contents
  FROM waypost.edge_owned_tables JOIN unnest($1::text[], $2::jsonb[]) AS t(relation, contents) USING (relation) WHERE table_oid IS NOT NULL
  ON CONFLICT (relation) DO UPDATE SET table_oid = excluded.table_oid, database = excluded.database, how = excluded.how,
    contents = excluded.contents, left_at = excluded.left_at`;

/** $1: relations, $2: the database's identity. */
export const FIND_LEFT = `
  SELECT relation, table_oid::int8 AS oid, how, contents FROM waypost.edge_left_tables WHERE relation = ANY ($1::text[]) AND database = $2`;

/** $1: relations. */
export const FORGET_LEFT = 'DELETE FROM waypost.edge_left_tables WHERE relation = ANY ($1::text[])';

/** $1: relations. */
export const FORGET_OWNED = 'DELETE FROM waypost.edge_owned_tables WHERE relation = ANY ($1::text[])';

/** Rows that were retained stay with their table, as the device's own. $1: the manifest's names. */
export const FORGET_RETAINED = 'DELETE FROM waypost.edge_kept_rows WHERE table_name = ANY ($1::text[])';

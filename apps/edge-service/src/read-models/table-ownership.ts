import type { Query } from '@waypost/runtime';
import type { Ownership } from '../state/record-ownership.js';

/** Tables of the database beside PostgreSQL's and Waypost's own, partitions with their root, and what is recorded of each. $1: the database's identity. */
const LIST_TABLES = `
  WITH tables AS (
    SELECT format('"%s"."%s"', replace(n.nspname, '"', '""'), replace(c.relname, '"', '""')) AS relation,
           CASE WHEN n.nspname = 'public' THEN quote_ident(c.relname) ELSE format('%I.%I', n.nspname, c.relname) END AS name, c.oid
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('waypost', 'information_schema') AND n.nspname !~ '^pg_'
  )
  SELECT coalesce(t.name, o.relation) AS name, t.oid IS NOT NULL AS "exists", o.how, o.since,
         o.relation IS NOT NULL AND (t.oid IS NULL OR o.table_oid IS NULL OR o.database <> $1 OR o.table_oid = t.oid) AS ours
  FROM tables t FULL JOIN waypost.edge_owned_tables o USING (relation) ORDER BY 1`;

/** A table of a device's database, and whether Waypost may write to it. */
export interface TableOwnership {
  name: string;
  exists: boolean;
  ours: boolean;
  /** How it became Waypost's; null where it never was. */
  how: Ownership | null;
  since: string | null;
}

type OwnershipRow = Omit<TableOwnership, 'since'> & { since: Date | null };

/** @param identity the database's */
export async function listTables(query: Query, identity: string): Promise<TableOwnership[]> {
  const rows = await query<OwnershipRow>(LIST_TABLES, [identity]);
  return rows.map(({ since, ...row }) => ({ ...row, since: since?.toISOString() ?? null }));
}

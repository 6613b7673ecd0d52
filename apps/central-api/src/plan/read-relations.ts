import { WaypostError } from '@waypost/contracts';
import { pinSession, SqlState, sqlStateOf } from '@waypost/runtime';
import pg from 'pg';

/** What PostgreSQL knows of a view it knows of the query. */
const VIEW = 'pg_temp.waypost_reads';

/** Runs `work` while the query is a view, named by its argument, and takes the view back, in the current READ WRITE transaction. */
export async function asView<T>(client: pg.ClientBase, query: string, work: (view: string) => Promise<T>): Promise<T> {
  await client.query('SAVEPOINT as_view');
  try {
    await client.query(`CREATE VIEW ${VIEW} AS ${query}`);
    return await work(VIEW);
  } finally {
    await client.query('ROLLBACK TO as_view');
  }
}

/** What a view names, as far as LOCK TABLE takes it from us; a view's own tables are locked along with it. $1: the view. */
const NAMED_RELATIONS = `
  SELECT DISTINCT format('%I.%I', n.nspname, c.relname) AS name
  FROM pg_rewrite w JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
  JOIN pg_class c ON c.oid = d.refobjid AND c.oid <> w.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE w.ev_class = $1::regclass AND c.relkind IN ('r', 'p', 'v') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND has_table_privilege(c.oid, 'SELECT')
  ORDER BY 1`;
/** Rights to some columns only are enough to read them, not to lock the table. $1: quoted names. */
const LOCKABLE = "SELECT name FROM unnest($1::text[]) AS name WHERE has_table_privilege(name, 'SELECT')";

/** Whether this role may make temporary views; a standby lets no role do so. */
const READ_RIGHT = `
  SELECT has_database_privilege(current_database(), 'TEMPORARY') OR pg_is_in_recovery() AS "mayUseViews",
         format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), current_user) AS grant`;

/** What a query reads, by itself, through views or as a partition, that a crash empties or that others do not see. $1: the view. */
const UNLOGGED = `
  WITH RECURSIVE reads(oid) AS (
    SELECT $1::regclass::oid
    UNION
    SELECT part.oid FROM reads JOIN pg_class c ON c.oid = reads.oid, LATERAL (
      SELECT d.refobjid FROM pg_rewrite w JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
      WHERE c.relkind = 'v' AND w.ev_class = c.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> c.oid
      UNION ALL SELECT h.inhrelid FROM pg_inherits h WHERE h.inhparent = c.oid
    ) AS part(oid)
  )
  SELECT format('%I.%I', n.nspname, c.relname) AS name
  FROM reads JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid <> $1::regclass AND c.relkind IN ('r', 'm') AND c.relpersistence = 'u' ORDER BY 1`;

/** Materialized views among what a query reads, by itself or through views, and what the query names to read them. $1: the view. */
const MATERIALIZED = `
  WITH RECURSIVE reads(oid, named) AS (
    SELECT $1::regclass::oid, NULL::oid
    UNION
    SELECT d.refobjid, coalesce(reads.named, d.refobjid) FROM reads JOIN pg_class c ON c.oid = reads.oid AND c.relkind = 'v'
    JOIN pg_rewrite w ON w.ev_class = c.oid JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid <> c.oid
  )
  SELECT DISTINCT n.nspname::text AS schema, c.relname::text AS name, format('%I.%I', nn.nspname, named.relname) AS "readBy"
  FROM reads JOIN pg_class c ON c.oid = reads.oid JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class named ON named.oid = reads.named JOIN pg_namespace nn ON nn.oid = named.relnamespace
  WHERE c.relkind = 'm' ORDER BY 3`;

/** A materialized view: LOCK TABLE takes none, only a reading locks it. */
export interface MaterializedRead {
  schema: string;
  name: string;
  /** Quoted name of what a query names to read it: itself, or a view. */
  readBy: string;
}

/** What queries read. */
export interface QueryRelations {
  materialized: MaterializedRead[];
  /** Names of tables and views, quoted. */
  names: string[];
  /** Unlogged tables among them, or behind views: of which query, by its place in the list. */
  unlogged: { query: number; name: string }[];
}

/**
 * The tables and views that queries read, also those that they only join: PostgreSQL itself lists what a view depends on. The views are temporary and
 * rolled back. Call it in a READ WRITE transaction.
 * @param tables the plan's own, quoted: all that is found of a query that makes no view, and on a standby
 * @throws WaypostError DATABASE_RIGHTS_MISSING where the role may make no temporary views: what is only joined would then be read without a lock, and appear
 * empty while it is truncated and filled again
 */
export async function findRelations(client: pg.ClientBase, queries: readonly string[], tables: readonly string[]): Promise<QueryRelations> {
  const { rows } = await client.query<{ mayUseViews: boolean; grant: string }>(READ_RIGHT);
  const [right] = rows;
  if (!right?.mayUseViews)
    throw new WaypostError('DATABASE_RIGHTS_MISSING', {
      detail: 'Central’s role may not create temporary views, by which it finds out what the plan’s queries read.',
      hint: `Run: ${right?.grant}`,
    });
  await pinSession(client);
  const names = new Set<string>();
  const unlogged: QueryRelations['unlogged'] = [];
  const materialized: MaterializedRead[] = [];
  for (const [at, query] of queries.entries()) {
    try {
      const found = await asView(client, query, async (view) => ({
        named: (await client.query<{ name: string }>(NAMED_RELATIONS, [view])).rows,
        unlogged: (await client.query<{ name: string }>(UNLOGGED, [view])).rows,
        materialized: (await client.query<MaterializedRead>(MATERIALIZED, [view])).rows,
      }));
      materialized.push(...found.materialized);
      for (const { name } of found.named) names.add(name);
      for (const { name } of found.unlogged) unlogged.push({ query: at, name });
    } catch (error) {
      if (!(error instanceof pg.DatabaseError) || !REFUSED.test(sqlStateOf(error) ?? '')) throw error;
      const { rows: lockable } = await client.query<{ name: string }>(LOCKABLE, [tables]);
      for (const { name } of lockable) names.add(name);
    }
  }
  return { names: [...names].sort(), unlogged, materialized };
}

/** Read-only servers; SQL that is not for views. */
const REFUSED = /^(42|0A|25006)/;

/** A table or view that the plan reads is gone, or may not be read any more. */
const ALTERED: ReadonlySet<string | undefined> = new Set([SqlState.undefinedTable, SqlState.insufficientPrivilege]);

/** What a query of the plan failed with, for the client. */
export function asAltered(error: unknown): never {
  if (!ALTERED.has(sqlStateOf(error))) throw error;
  throw new WaypostError('PLAN_INVALID', { detail: `The database was altered: ${(error as Error).message}`, cause: error });
}

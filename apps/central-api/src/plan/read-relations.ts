import { WaypostError } from '@waypost/contracts';
import { pinSession, SqlState, sqlStateOf } from '@waypost/runtime';
import pg from 'pg';

/** What PostgreSQL knows of a view it knows of the query. */
const VIEW = 'pg_temp.waypost_reads';

/** Runs `work` while the query is a view, named by its argument, and takes the view back, in the READ WRITE transaction under way. */
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

/**
 * The tables and views that queries read, also those that they only join: PostgreSQL itself lists what a view depends on. The views are temporary and
 * rolled back. Call it in a READ WRITE transaction.
 * @param tables the plan's own, quoted: all that is found where the role may create no temporary view, or a query makes none
 * @returns their names, quoted
 */
export async function findRelations(client: pg.ClientBase, queries: readonly string[], tables: readonly string[]): Promise<string[]> {
  await pinSession(client);
  const names = new Set<string>();
  for (const query of queries) {
    try {
      const { rows } = await asView(client, query, (view) => client.query<{ name: string }>(NAMED_RELATIONS, [view]));
      for (const { name } of rows) names.add(name);
    } catch (error) {
      if (!(error instanceof pg.DatabaseError) || !REFUSED.test(sqlStateOf(error) ?? '')) throw error;
      const { rows } = await client.query<{ name: string }>(LOCKABLE, [tables]);
      return rows.map(({ name }) => name);
    }
  }
  return [...names].sort();
}

/** Missing rights and read-only servers; SQL that is not for views. */
const REFUSED = /^(42|0A|25006)/;

/** A table or view that the plan reads is gone, or may not be read any more. */
const ALTERED: ReadonlySet<string | undefined> = new Set([SqlState.undefinedTable, SqlState.insufficientPrivilege]);

/** What a query of the plan failed with, for whoever asked. */
export function asAltered(error: unknown): never {
  if (!ALTERED.has(sqlStateOf(error))) throw error;
  throw new WaypostError('PLAN_INVALID', { detail: `The database was altered: ${(error as Error).message}`, cause: error });
}

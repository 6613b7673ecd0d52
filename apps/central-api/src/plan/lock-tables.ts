import type pg from 'pg';
import type { CheckedPlan } from './check-plan.js';
import { asAltered } from './read-relations.js';

/**
 * All that is read, before the transaction has its snapshot: a table that is truncated or rewritten after that would be empty for an older
 * snapshot, and the manifest would be of a state that never was. Only ACCESS EXCLUSIVE waits for this lock; readers and writers do not.
 */
export async function lockTables(client: pg.ClientBase, { reads }: Pick<CheckedPlan, 'reads'>): Promise<void> {
  if (reads.length > 0) await client.query(`LOCK TABLE ${reads.join(', ')} IN ACCESS SHARE MODE`).catch(asAltered);
}

/** Materialized views whose rows the transaction's snapshot may see otherwise than the catalog has them now. $1: schemas, $2: names. */
const REFRESHED_SINCE = `
  SELECT FROM unnest($1::text[], $2::text[]) AS wanted(schema, name)
  LEFT JOIN (pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid) ON n.nspname = wanted.schema AND c.relname = wanted.name
  WHERE c.oid IS NULL OR c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid)
     OR CASE WHEN has_schema_privilege(n.oid, 'USAGE') THEN c.oid IS DISTINCT FROM to_regclass(format('%I.%I', wanted.schema, wanted.name))::oid END`;

/**
 * Locks materialized views, which LOCK TABLE does not take, by reading none of their rows, in the current transaction. That takes the snapshot first:
 * a refresh in between leaves the snapshot with rows of another moment, or none. The catalog as the snapshot sees it tells so, beside the catalog as it is.
 * @returns false then: the transaction must start over
 */
export async function lockMaterializedViews(client: pg.ClientBase, { materialized }: CheckedPlan): Promise<boolean> {
  if (materialized.length === 0) return true;
  const named = [...new Set(materialized.map(({ readBy }) => readBy))];
  await client.query(named.map((name) => `SELECT FROM ${name} WHERE false`).join('; ')).catch(asAltered);
  const { rows } = await client.query(REFRESHED_SINCE, [materialized.map(({ schema }) => schema), materialized.map(({ name }) => name)]);
  return rows.length === 0;
}

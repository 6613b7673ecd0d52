import { type ColumnDefault, MAX_DEFAULT_LENGTH } from '@waypost/contracts';
import { type CatalogTable, queryPrepared } from '@waypost/runtime';
import { LRUCache } from 'lru-cache';
import pg from 'pg';
import { SOURCE_DEFAULTS } from './source-defaults.sql.js';

interface SourceDefault {
  tableOid: string;
  column: string;
  type: string;
  expression: string;
}

interface Source {
  actual: CatalogTable | undefined;
  resolved: { columns: readonly { name: string }[] };
}

/** Of constant expressions, by type and expression; false where PostgreSQL cannot compute one. They never change. */
const values = new LRUCache<string, string | false>({ max: 1000 });

/**
 * The constant defaults of mirrored columns, which tell a device what the rows that it has get in a new column. Call it in a pinned transaction.
 * @returns in the order of the tables; views have none
 */
export async function readDefaults(client: pg.ClientBase, sources: readonly Source[]): Promise<ColumnDefault[][]> {
  const oids = sources.flatMap(({ actual }) => (actual?.kind === 'table' || actual?.kind === 'partitioned' ? [String(actual.oid)] : []));
  const found = oids.length === 0 ? [] : await queryPrepared<SourceDefault>(client, 'defaults', SOURCE_DEFAULTS, [oids]);
  const all: ColumnDefault[][] = [];
  for (const { actual, resolved } of sources) {
    const own = found.filter(
      ({ tableOid, column }) => tableOid === String(actual?.oid) && resolved.columns.some(({ name }) => name === column),
    );
    const defaults: ColumnDefault[] = [];
    for (const entry of own) {
      const value = await valueOf(client, entry);
      if (value !== false && value.length <= MAX_DEFAULT_LENGTH) defaults.push({ column: entry.column, value });
    }
    all.push(defaults);
  }
  return all;
}

async function valueOf(client: pg.ClientBase, { type, expression }: SourceDefault): Promise<string | false> {
  const key = `${type} ${expression}`;
  const known = values.get(key);
  if (known !== undefined) return known;
  const value = await compute(client, type, expression);
  values.set(key, value);
  return value;
}

/** A default of the wrong size or range is refused only where it is used. Printed expressions lack the cast to the column's type. */
async function compute(client: pg.ClientBase, type: string, expression: string): Promise<string | false> {
  await client.query('SAVEPOINT default_value');
  try {
    const { rows } = await client.query<{ value: string | null }>(
      `SELECT CAST(CAST((${expression}) AS ${type}) AS pg_catalog.text) AS value`,
    );
    return rows[0]?.value ?? false;
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    return false;
  } finally {
    await client.query('ROLLBACK TO default_value');
  }
}

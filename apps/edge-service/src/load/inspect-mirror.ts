import { type MirrorShape, parseTableName, quoteTable, type TableShape, WaypostError } from '@waypost/contracts';
import { type CatalogTable, describeTables } from '@waypost/runtime';
import type pg from 'pg';
import { compareColumns } from './compare-columns.js';
import { findReferences, type LocalReference } from './local-references.js';
import { checkTypes } from './user-types.js';

/** The mirrored tables as the device's database has them. */
export interface Mirror {
  /** By the manifest's name; missing tables are not in it. */
  tables: ReadonlyMap<string, CatalogTable>;
  references: readonly LocalReference[];
}

const TYPES_HINT =
  'Alter the type as the detail says: it stays when its tables are dropped. To have all of it created again, drop the tables and the type; the next cycle creates them.';

/**
 * Compares the local tables with the manifest. Call it in a transaction, which it leaves with search_path at pg_catalog.
 * @throws WaypostError SCHEMA_MISMATCH that names every difference
 */
export async function inspectMirror(client: pg.ClientBase, manifest: MirrorShape): Promise<Mirror> {
  const described = await describeTables(
    client,
    manifest.tables.map(({ name }) => parseTableName(name)),
  );
  const tables = new Map<string, CatalogTable>();
  const differences: string[] = [];
  for (const table of manifest.tables) {
    const local = described.get(quoteTable(parseTableName(table.name)));
    if (!local) continue;
    tables.set(table.name, local);
    differences.push(...compareColumns(table, local));
  }
  const types = await checkTypes(client, manifest.types);
  differences.push(...types);
  if (differences.length > 0) {
    throw new WaypostError('SCHEMA_MISMATCH', { detail: `${differences.join('; ')}.`, ...(types.length > 0 && { hint: TYPES_HINT }) });
  }
  return { tables, references: await findReferences(client, tables) };
}

/** Whether a schema is Waypost's own or PostgreSQL's, which reserves the prefix. */
export function isReservedSchema(schema: string): boolean {
  return /^(waypost$|information_schema$|pg_)/.test(schema);
}

/** @throws WaypostError MANIFEST_INVALID when two names mean one table, or a key is not among the columns */
export function checkTableNames(tables: readonly TableShape[]): void {
  const seen = new Map<string, string>();
  for (const { name, key, columns } of tables) {
    const quoted = quoteTable(parseTableName(name));
    const other = seen.get(quoted);
    if (other !== undefined)
      throw new WaypostError('MANIFEST_INVALID', { detail: `The manifest's ${other} and ${name} are the same table.` });
    seen.set(quoted, name);
    if (isReservedSchema(parseTableName(name).schema))
      throw new WaypostError('MANIFEST_INVALID', { detail: `The manifest names ${name}: a table of Waypost's own or of PostgreSQL's.` });
    const missing = key.find((part) => !columns.some((column) => column.name === part));
    if (missing !== undefined)
      throw new WaypostError('MANIFEST_INVALID', { detail: `The key column ${missing} of ${name} is not among its columns.` });
  }
}

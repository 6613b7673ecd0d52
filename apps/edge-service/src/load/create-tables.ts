import {
  type Manifest,
  type ManifestColumn,
  type ManifestTable,
  parseTableName,
  quoteIdentifier,
  quoteTable,
  WaypostError,
} from '@waypost/contracts';
import { sqlStateOf } from '@waypost/runtime';
import type pg from 'pg';
import { PARSE_TYPES } from './catalog.sql.js';
import { createEnums } from './enum-types.js';

const SYNTAX_ERROR = '42601';

interface ParsedType {
  type: string;
  known: boolean;
  collatable: boolean;
}

/**
 * Creates the schemas, enum types and tables that the manifest needs and the device lacks, in the transaction under way, with search_path
 * at pg_catalog as the manifest's type names want it.
 * @param missing the tables that are not there
 * @throws WaypostError SCHEMA_MISMATCH when a column's type is neither there nor an enum
 */
export async function createTables(client: pg.ClientBase, manifest: Manifest, missing: readonly ManifestTable[]): Promise<void> {
  if (missing.length === 0) return;
  await client.query('SET LOCAL search_path = pg_catalog');
  await createSchemas(client, manifest, missing);
  await createEnums(client, manifest.types);
  const types = await parseTypes(
    client,
    missing.flatMap((table) => table.columns),
  );
  for (const table of missing) await client.query(createStatement(table, types));
}

async function createSchemas(client: pg.ClientBase, manifest: Manifest, missing: readonly ManifestTable[]): Promise<void> {
  const schemas = new Set([...missing, ...manifest.types].map(({ name }) => parseTableName(name).schema));
  for (const schema of schemas) {
    // IF NOT EXISTS would ask for the right to create one even where it exists.
    const { rowCount } = await client.query('SELECT FROM pg_namespace WHERE nspname = $1', [schema]);
    if (rowCount === 0) await client.query(`CREATE SCHEMA ${quoteIdentifier(schema)}`);
  }
}

/**
 * Checks, before anything is downloaded, that the missing tables can be created.
 * @throws WaypostError SCHEMA_MISMATCH
 */
export async function checkCreatable(client: pg.ClientBase, manifest: Manifest, missing: readonly ManifestTable[]): Promise<void> {
  const enums = manifest.types.flatMap(({ name }) => [name, `${name}[]`]);
  const columns = missing.flatMap((table) => table.columns).filter(({ type }) => !enums.includes(type));
  await parseTypes(client, columns);
}

/** The columns' types; the value says whether a type has a collation. */
async function parseTypes(client: pg.ClientBase, columns: readonly ManifestColumn[]): Promise<Map<string, boolean>> {
  const names = [...new Set(columns.map(({ type }) => type))];
  const { rows } = await client.query<ParsedType>(PARSE_TYPES, [names]).catch((error: unknown) => {
    if (sqlStateOf(error) === SYNTAX_ERROR) throw unknownTypes(names);
    throw error;
  });
  const unknown = rows.filter(({ known }) => !known).map(({ type }) => type);
  if (unknown.length > 0) throw unknownTypes(unknown);
  return new Map(rows.map(({ type, collatable }) => [type, collatable]));
}

function unknownTypes(names: readonly string[]): WaypostError {
  return new WaypostError('SCHEMA_MISMATCH', {
    detail: `This database lacks types that the manifest needs, among ${names.join(', ')}.`,
    hint: 'Create them on the device as they are on central: CREATE EXTENSION, CREATE DOMAIN or CREATE TYPE.',
  });
}

/** Keys are ordered by their bytes, so that the key's index serves the canonical order. */
function createStatement({ name, columns, key }: ManifestTable, types: ReadonlyMap<string, boolean>): string {
  const lines = columns.map((column) => {
    const collation = key.includes(column.name) && types.get(column.type) ? ' COLLATE "C"' : '';
    return `${quoteIdentifier(column.name)} ${column.type}${collation}${column.notNull ? ' NOT NULL' : ''}`;
  });
  // A view's columns are never NOT NULL, and a primary key would make them so.
  const nullable = columns.some((column) => key.includes(column.name) && !column.notNull);
  const constraint = nullable ? 'UNIQUE NULLS NOT DISTINCT' : 'PRIMARY KEY';
  lines.push(`${constraint} (${key.map(quoteIdentifier).join(', ')})`);
  return `CREATE TABLE ${quoteTable(parseTableName(name))} (\n  ${lines.join(',\n  ')}\n)`;
}

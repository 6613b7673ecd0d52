import {
  type MirrorShape,
  parseTableName,
  quoteIdentifier,
  quoteTable,
  type TableShape,
  type UserType,
  WaypostError,
} from '@waypost/contracts';
import { sqlStateOf } from '@waypost/runtime';
import type pg from 'pg';
import type { Alterations } from '../schema/plan-changes.js';
import { PARSE_TYPES } from './catalog.sql.js';
import { createTypes, namesOf, namesWithin } from '../schema/user-types.js';

const SYNTAX_ERROR = '42601';

interface ParsedType {
  type: string;
  known: boolean;
  collatable: boolean;
}

/**
 * Creates the schemas, types and tables that the manifest needs and the device lacks, in the current transaction, with search_path
 * at pg_catalog as the manifest's type names want it. Of tables that are to be altered it creates the types, and checks that they are types.
 * @param missing the tables that are not there
 * @throws WaypostError SCHEMA_MISMATCH that names the types which are neither there nor can be made from the manifest
 */
export async function createTables(
  client: pg.ClientBase,
  manifest: MirrorShape,
  missing: readonly TableShape[],
  alterations: Alterations,
): Promise<void> {
  const altered = typesOfAlterations(alterations);
  if (missing.length + altered.length === 0) return;
  await client.query('SET LOCAL search_path = pg_catalog');
  await createSchemas(client, manifest, missing);
  await createTypes(client, manifest.types, (names) => parseTypes(client, names, manifest.types));
  const types = await parseTypes(client, [...typesOfColumns(missing), ...altered], manifest.types);
  for (const table of missing) await client.query(createStatement(table, types));
}

async function createSchemas(client: pg.ClientBase, manifest: MirrorShape, missing: readonly TableShape[]): Promise<void> {
  const types = manifest.types.filter(({ kind }) => kind !== 'external');
  const schemas = new Set([...missing, ...types].map(({ name }) => parseTableName(name).schema));
  for (const schema of schemas) {
    // IF NOT EXISTS would ask for the right to create one even where it exists.
    const { rowCount } = await client.query('SELECT FROM pg_namespace WHERE nspname = $1', [schema]);
    if (rowCount === 0) await client.query(`CREATE SCHEMA ${quoteIdentifier(schema)}`);
  }
}

/**
 * Checks, before anything is downloaded, that the missing tables can be created and the others altered.
 * @throws WaypostError SCHEMA_MISMATCH
 */
export async function checkCreatable(
  client: pg.ClientBase,
  manifest: MirrorShape,
  missing: readonly TableShape[],
  alterations: Alterations = new Map(),
): Promise<void> {
  const made = namesOf(manifest.types);
  const needed = [...typesOfColumns(missing), ...typesOfAlterations(alterations)];
  if (needed.length > 0) needed.push(...manifest.types.flatMap(namesWithin));
  await parseTypes(
    client,
    needed.filter((type) => !made.has(type)),
    manifest.types,
  );
}

function typesOfColumns(tables: readonly TableShape[]): string[] {
  return tables.flatMap(({ columns }) => columns.map(({ type }) => type));
}

function typesOfAlterations(alterations: Alterations): string[] {
  return [...alterations.values()].flat().flatMap((alteration) => ('type' in alteration ? [alteration.type] : []));
}

/** The value says whether a type has a collation. */
async function parseTypes(client: pg.ClientBase, types: readonly string[], ofManifest: readonly UserType[]): Promise<Map<string, boolean>> {
  const names = [...new Set(types)];
  const { rows } = await client.query<ParsedType>(PARSE_TYPES, [names]).catch((error: unknown) => {
    if (sqlStateOf(error) === SYNTAX_ERROR) throw unknownTypes(names, ofManifest);
    throw error;
  });
  const unknown = rows.filter(({ known }) => !known).map(({ type }) => type);
  if (unknown.length > 0) throw unknownTypes(unknown, ofManifest);
  return new Map(rows.map(({ type, collatable }) => [type, collatable]));
}

function unknownTypes(names: readonly string[], ofManifest: readonly UserType[]): WaypostError {
  const external = ofManifest.flatMap((type) =>
    type.kind === 'external' && names.some((name) => name.startsWith(type.name)) ? [type.statement] : [],
  );
  const statements = [...new Set(external)].join('; ');
  return new WaypostError('SCHEMA_MISMATCH', {
    detail: `This database lacks types that the manifest needs: ${names.join(', ')}.`,
    hint: `Create them on the device as they are on central: ${statements || 'CREATE EXTENSION or CREATE TYPE'}.`,
  });
}

/** Keys are ordered by their bytes, so that the key's index serves the canonical order. */
function createStatement({ name, columns, key }: TableShape, types: ReadonlyMap<string, boolean>): string {
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

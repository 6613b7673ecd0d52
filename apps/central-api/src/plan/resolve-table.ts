import {
  type CatalogColumn,
  type CatalogTable,
  canonicalQuery,
  type KeyedSource,
  type KeyOrders,
  keyOrdersOf,
  type RowLayout,
  type TypeCatalog,
} from '@waypost/runtime';
import { quoteIdentifier, quoteTable, type TableIdentifier } from '@waypost/contracts';
import { renderParameters } from './sql-parameters.js';

/** A plan table brought together with the catalog: which columns its rows have, in which order they come. */
export interface ResolvedTable {
  columns: CatalogColumn[];
  key: string[];
  keyOrders: KeyOrders;
  /** A unique index over columns that are NOT NULL guards the key. Otherwise each snapshot has to look whether it identifies the rows. */
  keyIsProven: boolean;
}

interface Problem {
  member: 'name' | 'columns' | 'key';
  index?: number;
  message: string;
}

interface WantedTable {
  name: string;
  identifier: TableIdentifier;
  columns: string[] | undefined;
  key: string[] | undefined;
  where: string | undefined;
}

/** Finds columns and key of a plan table in the catalog, or says why it cannot be mirrored. */
export function resolveTable(
  wanted: WantedTable,
  actual: CatalogTable | undefined,
  types: TypeCatalog,
): { resolved?: ResolvedTable; problems: Problem[] } {
  if (!actual) return { problems: [{ member: 'name', message: `table ${wanted.name} does not exist, or may not be seen` }] };
  const obstacle = whyNotMirrored(wanted, actual);
  if (obstacle !== undefined) return { problems: [{ member: 'name', message: obstacle }] };
  const problems: Problem[] = [];
  const byName = new Map(actual.columns.map((column) => [column.name, column]));

  const columns = (wanted.columns ?? actual.columns.filter((column) => !column.generated).map((column) => column.name)).flatMap(
    (name, index) => {
      const column = byName.get(name);
      if (!column) problems.push({ member: 'columns', index, message: `table ${wanted.name} has no column "${name}"` });
      else if (column.generated)
        problems.push({ member: 'columns', index, message: `column "${name}" of ${wanted.name} is generated: it cannot be loaded` });
      return column && !column.generated ? [column] : [];
    },
  );
  for (const [index, name] of (wanted.columns ?? []).entries()) {
    if (wanted.columns?.indexOf(name) !== index) problems.push({ member: 'columns', index, message: `column "${name}" is named twice` });
  }
  if (columns.length === 0 && problems.length === 0) {
    problems.push({ member: 'name', message: `table ${wanted.name} has no columns but generated ones: there is nothing to load` });
  }
  for (const column of columns) {
    const obstacle = types.obstacle(column.typeOid);
    if (obstacle === undefined) continue;
    const index = wanted.columns?.indexOf(column.name);
    const hint = 'leave it out: name the other columns in the plan';
    problems.push({
      member: 'columns',
      ...(index !== undefined && { index }),
      message: `column "${column.name}" of ${wanted.name} cannot be mirrored: ${obstacle} (${hint})`,
    });
  }

  const key = wanted.key ?? actual.primaryKey;
  if (key.length === 0)
    problems.push({
      member: 'name',
      message: `${actual.kind} ${wanted.name} has no primary key: ${proposeKey(actual, columns)}`,
    });
  for (const [index, name] of key.entries()) {
    const place: Pick<Problem, 'member' | 'index'> = wanted.key ? { member: 'key', index } : { member: 'columns' };
    if (!byName.has(name)) problems.push({ ...place, message: `table ${wanted.name} has no key column "${name}"` });
    else if (byName.get(name)?.generated)
      problems.push({ ...place, message: `key column "${name}" of ${wanted.name} is generated, and cannot be loaded: name another key` });
    else if (!columns.some((column) => column.name === name))
      problems.push({ ...place, message: `key column "${name}" of ${wanted.name} is not among its columns` });
  }
  if (problems.length > 0) return { problems };
  return { resolved: { columns, key, keyOrders: keyOrdersOf(columns), keyIsProven: provesKey(actual, key, byName) }, problems };
}

/** Schemas that are PostgreSQL's or Waypost's own. */
const OWN_SCHEMAS = /^(pg_.*|information_schema|waypost)$/;

/** Why a table as a whole cannot be mirrored. */
function whyNotMirrored({ name }: WantedTable, { schema, kind, persistence, populated, unsafeParts }: CatalogTable): string | undefined {
  if (persistence === 'temporary') return `table ${name} is temporary: no other session sees its rows`;
  if (OWN_SCHEMAS.test(schema))
    return `${kind} ${name} belongs to schema ${schema}, which is PostgreSQL's or Waypost's own: it is not business data`;
  if (kind === 'foreign') return `table ${name} is foreign: its rows are not of the snapshot's moment. Mirror a materialized view of it`;
  if (persistence === 'unlogged') {
    return `${kind} ${name} is unlogged: a crash of central would empty it, and then every device. Make it logged: ALTER TABLE … SET LOGGED`;
  }
  if (unsafeParts.length > 0) {
    return `table ${name} has partitions or inheriting tables that are foreign, unlogged or temporary: ${unsafeParts.join(', ')}`;
  }
  if (!populated) return `${kind} ${name} was never filled: REFRESH MATERIALIZED VIEW`;
  return undefined;
}

/** What to write as the key of a table that has no primary key. */
function proposeKey({ uniqueKeys }: CatalogTable, columns: readonly CatalogColumn[]): string {
  const [shortest] = uniqueKeys
    .filter((unique) => unique.every((name) => columns.some((column) => column.name === name)))
    .sort((one, other) => one.length - other.length);
  if (!shortest) return 'name the columns that identify a row, as its key, in the plan';
  return `a unique index over NOT NULL columns identifies its rows, so add to the plan  key: [${shortest.map(inYaml).join(', ')}]`;
}

/** A column's name as a plan spells it. */
function inYaml(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) ? name : `'${quoteIdentifier(name).replaceAll("'", "''")}'`;
}

function provesKey(actual: CatalogTable, key: readonly string[], columns: ReadonlyMap<string, CatalogColumn>): boolean {
  const isSolid = key.every((name) => columns.get(name)?.notNull);
  return isSolid && !actual.hasHeirs && actual.uniqueKeys.some((unique) => unique.every((name) => key.includes(name)));
}

/** The canonical query of a plan table, its parameters rendered by `render`. */
export function canonicalTableQuery(
  wanted: WantedTable,
  table: RowLayout & Pick<ResolvedTable, 'columns' | 'keyOrders'>,
  render: (parameter: string) => string,
): string {
  return canonicalQuery(keyedSource(wanted, table, render));
}

/** As canonicalTableQuery, for reading ranges of keys. */
export function keyedSource(
  wanted: WantedTable,
  table: RowLayout & Pick<ResolvedTable, 'columns' | 'keyOrders'>,
  render: (parameter: string) => string,
): KeyedSource {
  return {
    layout: table,
    table: quoteTable(wanted.identifier),
    keyOrders: table.keyOrders,
    keyColumns: table.key.map((name) => table.columns.find((column) => column.name === name) as CatalogColumn),
    where: wanted.where === undefined ? undefined : renderParameters(wanted.where, render),
  };
}

/** `type` comes from format_type, never from a user. */
export function castParameter(expression: string, type: string): string {
  return `CAST(${expression} AS ${type})`;
}

import { type CatalogColumn, type CatalogTable, canonicalQuery, type RowLayout } from '@waypost/runtime';
import { quoteTable, type TableIdentifier } from '@waypost/contracts';
import { renderParameters } from './sql-parameters.js';

/** A plan table brought together with the catalog: which columns its rows have, in which order they come. */
export interface ResolvedTable {
  columns: CatalogColumn[];
  key: string[];
  textKeys: Set<string>;
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

/** Finds columns and key of a plan table in the catalog, or says what is wrong with it. */
export function resolveTable(wanted: WantedTable, actual: CatalogTable | undefined): { resolved?: ResolvedTable; problems: Problem[] } {
  if (!actual) return { problems: [{ member: 'name', message: `table ${wanted.name} does not exist, or may not be seen` }] };
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

  const key = wanted.key ?? actual.primaryKey;
  if (key.length === 0)
    problems.push({ member: 'name', message: `${actual.kind} ${wanted.name} has no primary key: name its key in the plan` });
  for (const [index, name] of key.entries()) {
    const place: Pick<Problem, 'member' | 'index'> = wanted.key ? { member: 'key', index } : { member: 'columns' };
    if (!byName.has(name)) problems.push({ ...place, message: `table ${wanted.name} has no key column "${name}"` });
    else if (!columns.some((column) => column.name === name))
      problems.push({ ...place, message: `key column "${name}" of ${wanted.name} is not among its columns` });
  }
  if (problems.length > 0) return { problems };
  const textKeys = new Set(key.filter((name) => byName.get(name)?.collatable));
  return { resolved: { columns, key, textKeys }, problems };
}

/** The canonical query of a plan table, its parameters rendered by `render`. */
export function canonicalTableQuery(
  wanted: WantedTable,
  table: RowLayout & { textKeys: Set<string> },
  render: (parameter: string) => string,
): string {
  return canonicalQuery({
    layout: table,
    table: quoteTable(wanted.identifier),
    textKeys: table.textKeys,
    where: wanted.where === undefined ? undefined : renderParameters(wanted.where, render),
  });
}

/** `type` comes from format_type, never from a user. */
export function castParameter(expression: string, type: string): string {
  return `CAST(${expression} AS ${type})`;
}

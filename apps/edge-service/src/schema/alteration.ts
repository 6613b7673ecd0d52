import { parseTableName, quoteIdentifier, quoteTable, type TableShape } from '@waypost/contracts';
import type { CatalogTable } from '@waypost/runtime';
import pg from 'pg';

/** A change of a local table that loses nothing that the manifest has. */
export type Alteration =
  /** `value`: what the rows that are there get, as text; NULL without it, and then NULL stays allowed. */
  | { kind: 'add'; column: string; type: string; value?: string; notNull?: true }
  /** To a type that has each value of the present one. `collation`: the present one, as SQL, where it is not the type's own. */
  | { kind: 'widen'; column: string; type: string; collation?: string }
  /** NULL is allowed from now on. */
  | { kind: 'relax'; column: string }
  /** The manifest had it before, and has it no more. */
  | { kind: 'drop'; column: string };

/** The types must have been checked to be types. To be run in a pinned session with search_path at pg_catalog. */
export function alterStatements(table: string, alteration: Alteration): string[] {
  const head = `ALTER TABLE ${quoteTable(parseTableName(table))}`;
  const column = quoteIdentifier(alteration.column);
  switch (alteration.kind) {
    case 'add': {
      const added = `${head} ADD COLUMN ${column} ${alteration.type}`;
      if (alteration.value === undefined) return [added];
      // The rows that are there keep the value without being written. Later ones all come from central.
      const filled = `${alteration.notNull ? ' NOT NULL' : ''} DEFAULT ${constant(alteration.value, alteration.type)}`;
      return [`${added}${filled}`, `${head} ALTER COLUMN ${column} DROP DEFAULT`];
    }
    case 'widen':
      return [
        `${head} ALTER COLUMN ${column} TYPE ${alteration.type}${alteration.collation === undefined ? '' : ` COLLATE ${alteration.collation}`}`,
      ];
    case 'relax':
      return [`${head} ALTER COLUMN ${column} DROP NOT NULL`];
    case 'drop':
      return [`${head} DROP COLUMN ${column}`];
  }
}

/**
 * A table in FROM, with its rows as they will be after these alterations: what PostgreSQL is known to make of them, before any of it is done.
 * @returns `alias`: names the row
 */
export function alteredSource(table: TableShape, local: CatalogTable, alterations: readonly Alteration[]): { from: string; alias: string } {
  const name = quoteTable(parseTableName(table.name));
  const computed = new Map(alterations.map((alteration) => [alteration.column, valueAfter(alteration)]));
  const columns = [...new Set([...local.columns.map((column) => column.name), ...computed.keys()])].map((column) => {
    const value = computed.get(column);
    return value === undefined ? quoteIdentifier(column) : `${value} AS ${quoteIdentifier(column)}`;
  });
  return { from: `(SELECT ${columns.join(', ')} FROM ${name}) AS altered`, alias: 'altered' };
}

function valueAfter(alteration: Alteration): string | undefined {
  if (alteration.kind === 'add')
    return alteration.value === undefined ? `CAST(NULL AS ${alteration.type})` : constant(alteration.value, alteration.type);
  return alteration.kind === 'widen' ? `CAST(${quoteIdentifier(alteration.column)} AS ${alteration.type})` : undefined;
}

/** The value's own text, quoted, and never anything else of it. */
function constant(value: string, type: string): string {
  return `CAST(${pg.escapeLiteral(value)} AS ${type})`;
}

import {
  canonicalJson,
  type IndexKey,
  quoteIdentifier,
  quoteTable,
  sha256Hex,
  type TableIdentifier,
  type TableIndex,
} from '@waypost/contracts';
import { NAME_DIGITS } from '../state/own-index-names.js';

/** The name on a device: it changes with the definition. Two indexes of central that differ only in uniqueness or name are one here. */
export function ownName(table: TableIdentifier, { name: _, ...definition }: TableIndex): string {
  return `waypost_${sha256Hex(canonicalJson({ table: quoteTable(table), ...definition })).slice(0, NAME_DIGITS)}`;
}

/** Its expressions must have been checked. To be run with search_path at pg_catalog. */
export function createIndexStatement(table: TableIdentifier, index: TableIndex): string {
  const { method, keys, include, predicate } = index;
  return [
    `CREATE INDEX ${quoteIdentifier(ownName(table, index))} ON ${quoteTable(table)} USING ${quoteIdentifier(method)} (${keys.map(keyPart).join(', ')})`,
    ...(include ? [`INCLUDE (${include.map(quoteIdentifier).join(', ')})`] : []),
    ...(predicate === undefined ? [] : [`WHERE (${predicate})`]),
  ].join(' ');
}

function keyPart({ column, expression, collation, operatorClass, descending, nulls }: IndexKey): string {
  return [
    column === undefined ? `(${expression})` : quoteIdentifier(column),
    ...(collation === undefined ? [] : [`COLLATE pg_catalog.${quoteIdentifier(collation)}`]),
    `pg_catalog.${quoteIdentifier(operatorClass)}`,
    ...(descending ? ['DESC'] : []),
    ...(nulls === undefined ? [] : [`NULLS ${nulls === 'first' ? 'FIRST' : 'LAST'}`]),
  ].join(' ');
}

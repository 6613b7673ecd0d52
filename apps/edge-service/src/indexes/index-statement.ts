import {
  canonicalJson,
  type IndexKey,
  quoteIdentifier,
  quoteTable,
  sha256Hex,
  type TableIdentifier,
  type TableIndex,
} from '@waypost/contracts';

const NAME_DIGITS = 16;
/** Names of the device's indexes that Waypost made; what bears such a name without its comment is the owner's. */
export const OWN_NAME = `^waypost_[0-9a-f]{${NAME_DIGITS}}$`;
/** Comments of the device's indexes that Waypost made begin so. */
export const OWN_COMMENT = 'Made by Waypost';

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

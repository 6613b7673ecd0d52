import { type IndexKey, MAX_EXPRESSION_LENGTH, MAX_TABLE_INDEXES, type TableIndex } from '@waypost/contracts';
import { type CatalogTable, queryPrepared } from '@waypost/runtime';
import type pg from 'pg';
import type { ResolvedTable } from './resolve-table.js';
import { SOURCE_INDEXES } from './source-indexes.sql.js';

interface SourceKey {
  column: string | null;
  expression: string | null;
  operatorClass: string;
  /** The operator class is the type's own. */
  isDefaultClass: boolean;
  /** Null where it is the key's own. */
  collation: string | null;
  descending: boolean;
  nullsFirst: boolean;
}

/** An index of a source table, as the catalog has it. */
export interface SourceIndex {
  tableOid: string;
  name: string;
  method: string;
  isExclusion: boolean;
  /** False while it is built, and where its building failed. */
  isUsable: boolean;
  keys: SourceKey[];
  include: string[];
  predicate: string | null;
  namesWholeRow: boolean;
  /** All that it names, in its expressions too. */
  columns: string[];
  /** What it needs that is not PostgreSQL's own, in PostgreSQL's words. */
  foreignParts: string[];
  /** Oids of user-defined types in its expressions. */
  types: string[];
}

/** What becomes of a table's secondary indexes. */
export interface IndexChoice {
  mirrored: TableIndex[];
  leftOut: { name: string; reason: string }[];
}

/** A table of the plan and what it is in the catalog. */
interface Source {
  table: { indexes: 'mirror' | 'none' };
  actual: CatalogTable | undefined;
  resolved: Pick<ResolvedTable, 'columns' | 'key'>;
}

/** Access methods that are PostgreSQL's own. */
const METHODS = /^(btree|hash|gin|gist|spgist|brin)$/;

/**
 * Chooses the secondary indexes that devices get, in a transaction with search_path at pg_catalog.
 * @returns in the order of the tables; nothing is looked up for those that want none
 */
export async function chooseIndexes(client: pg.ClientBase, sources: readonly Source[]): Promise<IndexChoice[]> {
  const oids = sources.flatMap(({ table, actual }) => (actual && table.indexes === 'mirror' ? [String(actual.oid)] : []));
  if (oids.length === 0) return sources.map(() => ({ mirrored: [], leftOut: [] }));
  const indexes = await queryPrepared<SourceIndex>(client, 'indexes', SOURCE_INDEXES, [oids]);
  return sources.map(({ actual, resolved }) =>
    choose(
      indexes.filter(({ tableOid }) => tableOid === String(actual?.oid)),
      resolved,
    ),
  );
}

function choose(indexes: readonly SourceIndex[], resolved: Source['resolved']): IndexChoice {
  const choice: IndexChoice = { mirrored: [], leftOut: [] };
  for (const index of indexes) {
    if (isKey(index, resolved.key)) continue;
    const reason =
      whyLeftOut(index, resolved) ?? (choice.mirrored.length < MAX_TABLE_INDEXES ? undefined : `a table gets ${MAX_TABLE_INDEXES} at most`);
    if (reason === undefined) choice.mirrored.push(toTableIndex(index));
    else choice.leftOut.push({ name: index.name, reason });
  }
  return choice;
}

/** Whether the device's own index of the key serves the same. */
function isKey({ method, keys, include, predicate }: SourceIndex, key: readonly string[]): boolean {
  const isPlain = method === 'btree' && include.length === 0 && predicate === null && keys.length === key.length;
  return isPlain && keys.every((part, at) => part.column === key[at] && part.isDefaultClass && part.collation === null && !part.descending);
}

function whyLeftOut(index: SourceIndex, { columns }: Source['resolved']): string | undefined {
  if (!index.isUsable) return 'it is not valid';
  if (index.isExclusion) return 'it is an exclusion constraint';
  if (!METHODS.test(index.method)) return `the access method ${index.method} is not PostgreSQL’s own`;
  const [foreign] = index.foreignParts;
  if (foreign !== undefined) return `${foreign} is not PostgreSQL’s own`;
  const missing = index.columns.find((name) => !columns.some((column) => column.name === name));
  if (missing !== undefined) return `column ${missing} is not mirrored`;
  if (index.namesWholeRow) return 'it names the whole row';
  if (index.types.some((oid) => !columns.some(({ typeOid }) => String(typeOid) === oid)))
    return 'it names a type that no mirrored column has';
  const texts = [index.predicate, ...index.keys.map(({ expression }) => expression)];
  if (texts.some((text) => text !== null && text.length > MAX_EXPRESSION_LENGTH)) return 'its expression is too long';
  return undefined;
}

function toTableIndex({ name, method, keys, include, predicate }: SourceIndex): TableIndex {
  return {
    name,
    method,
    keys: keys.map(toIndexKey),
    ...(include.length > 0 ? { include } : {}),
    ...(predicate === null ? {} : { predicate }),
  };
}

function toIndexKey({ column, expression, operatorClass, collation, descending, nullsFirst }: SourceKey): IndexKey {
  return {
    ...(column === null ? {} : { column }),
    ...(expression === null ? {} : { expression }),
    operatorClass,
    ...(collation === null ? {} : { collation }),
    ...(descending ? { descending: true as const } : {}),
    // NULLs come first in a descending order, last in an ascending one.
    ...(nullsFirst === descending ? {} : { nulls: nullsFirst ? ('first' as const) : ('last' as const) }),
  };
}

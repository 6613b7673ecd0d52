import { type ManifestColumn, type MirrorShape, parseTableName, quoteIdentifier, quoteTable, type TableShape } from '@waypost/contracts';
import type { CatalogColumn, CatalogTable } from '@waypost/runtime';
import { type Alteration, alterStatements } from './alteration.js';
import { isWidening } from './widening.js';

/** One thing that keeps a local table from taking the manifest's rows as they are. */
export interface Difference {
  /** By the manifest's name. */
  table: string;
  /** In words. */
  text: string;
  /** What removes it, for the owner of the table. */
  statements: string[];
  /** The same, where nothing is lost by it. */
  alteration?: Alteration;
}

interface Origin {
  /** Waypost created the table: all that it has is the manifest's. */
  isCreated: boolean;
  /** As the manifest that the device holds has it. */
  held?: Pick<TableShape, 'columns'> | undefined;
}

type Wanted = MirrorShape['tables'][number];

/**
 * How a local table differs from the manifest's. Order and nullability of columns may differ, and columns that PostgreSQL computes by itself may be there
 * beside the mirrored ones. Of a table that Waypost created the key has to be the same, and columns may not refuse NULL where the manifest allows it.
 */
export function compareColumns(table: Wanted, local: CatalogTable, { isCreated, held }: Origin = { isCreated: false }): Difference[] {
  const { name } = table;
  if (local.kind !== 'table' && local.kind !== 'partitioned') {
    return [{ table: name, text: `${name} is a ${local.kind}, not a table`, statements: [] }];
  }
  const differences = isCreated ? compareKey(table, local) : [];
  const differs = (text: string, alteration: Alteration, loses = false): void => {
    const statements = alterStatements(name, alteration);
    differences.push({ table: name, text, statements, ...(loses ? {} : { alteration }) });
  };
  const locals = new Map(local.columns.map((column) => [column.name, column]));
  const missing: ManifestColumn[] = [];
  for (const wanted of table.columns) {
    const column = locals.get(wanted.name);
    locals.delete(wanted.name);
    const place = `${name}.${wanted.name}`;
    if (!column) missing.push(wanted);
    else if (column.generated) differences.push({ table: name, text: `${place} is generated here and cannot be loaded`, statements: [] });
    else if (column.type !== wanted.type) {
      const text = `${place} is ${column.type} here, ${wanted.type} in the manifest`;
      differs(text, retyping(column, wanted), !isWidening(column.type, wanted.type));
    } else if (isCreated && column.notNull && !wanted.notNull && !table.key.includes(wanted.name)) {
      differs(`${place} refuses NULL here, and not in the manifest`, { kind: 'relax', column: wanted.name });
    }
  }
  const surplus = [...locals.values()].filter(({ generated }) => !generated);
  // What the owner of the device added is not Waypost's to drop.
  const hasLeft = ({ name: column, type }: CatalogColumn): boolean =>
    held?.columns.some((known) => known.name === column && known.type === type) ?? false;
  for (const wanted of missing) {
    const text = `${name} lacks column ${wanted.name} ${wanted.type}`;
    const former = surplus.find((column) => column.type === wanted.type && hasLeft(column));
    if (former) differences.push(renaming(name, text, former.name, wanted.name));
    else differs(text, addition(table, wanted));
  }
  for (const column of surplus) {
    const isRenamed = missing.some(({ type }) => type === column.type);
    const text = `${name} has a column ${column.name} ${column.type} that the manifest lacks`;
    differs(text, { kind: 'drop', column: column.name }, !isCreated || isRenamed || !hasLeft(column));
  }
  return differences;
}

/** The manifest does not say whether a column got another name, or another column came in its place: only its owner knows. */
function renaming(table: string, text: string, from: string, to: string): Difference {
  const statement = `ALTER TABLE ${quoteTable(parseTableName(table))} RENAME COLUMN ${quoteIdentifier(from)} TO ${quoteIdentifier(to)}`;
  return { table, text: `${text}, which ${from} may have become`, statements: [statement] };
}

function addition({ defaults = [] }: Wanted, { name, type, notNull }: ManifestColumn): Alteration {
  const value = defaults.find(({ column }) => column === name)?.value;
  return { kind: 'add', column: name, type, ...(value === undefined ? {} : { value, ...(notNull && { notNull }) }) };
}

function retyping({ name, collation, collatable }: CatalogColumn, { type }: ManifestColumn): Alteration {
  return { kind: 'widen', column: name, type, ...(collatable && collation !== null && { collation }) };
}

function compareKey({ name, key }: Wanted, { primaryKey }: CatalogTable): Difference[] {
  const isSame = primaryKey.length === key.length && primaryKey.every((column) => key.includes(column));
  if (primaryKey.length === 0 || isSame) return [];
  const text = `${name} has the key (${primaryKey.join(', ')}) here, (${key.join(', ')}) in the manifest`;
  const table = quoteTable(parseTableName(name));
  return [{ table: name, text, statements: [`DROP TABLE ${table}`] }];
}

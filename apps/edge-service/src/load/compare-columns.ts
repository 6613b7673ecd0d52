import type { TableShape } from '@waypost/contracts';
import type { CatalogTable } from '@waypost/runtime';

/**
 * What keeps a local table from taking the manifest's rows as they are, in words. Order and nullability of columns may differ, and
 * columns that PostgreSQL computes by itself may be there beside the mirrored ones.
 */
export function compareColumns(table: TableShape, local: CatalogTable): string[] {
  if (local.kind !== 'table' && local.kind !== 'partitioned') return [`${table.name} is a ${local.kind}, not a table`];
  const differences: string[] = [];
  const locals = new Map(local.columns.map((column) => [column.name, column]));
  for (const { name, type } of table.columns) {
    const column = locals.get(name);
    locals.delete(name);
    if (!column) differences.push(`${table.name} lacks column ${name} ${type}`);
    else if (column.generated) differences.push(`${table.name}.${name} is generated here and cannot be loaded`);
    else if (column.type !== type) differences.push(`${table.name}.${name} is ${column.type} here, ${type} in the manifest`);
  }
  for (const { name, type, generated } of locals.values()) {
    if (!generated) differences.push(`${table.name} has a column ${name} ${type} that the manifest lacks`);
  }
  return differences;
}

import { parseTableName, quoteTable, type TableShape, WaypostError } from '@waypost/contracts';

/** Whether a schema is Waypost's own or PostgreSQL's, which reserves the prefix. */
export function isReservedSchema(schema: string): boolean {
  return /^(waypost$|information_schema$|pg_)/.test(schema);
}

/** @throws WaypostError MANIFEST_INVALID when two names mean one table, or a key is not among the columns */
export function checkTableNames(tables: readonly TableShape[]): void {
  const seen = new Map<string, string>();
  for (const { name, key, columns } of tables) {
    const quoted = quoteTable(parseTableName(name));
    const other = seen.get(quoted);
    if (other !== undefined)
      throw new WaypostError('MANIFEST_INVALID', { detail: `The manifest's ${other} and ${name} are the same table.` });
    seen.set(quoted, name);
    if (isReservedSchema(parseTableName(name).schema))
      throw new WaypostError('MANIFEST_INVALID', { detail: `The manifest names ${name}: a table of Waypost's own or of PostgreSQL's.` });
    const missing = key.find((part) => !columns.some((column) => column.name === part));
    if (missing !== undefined)
      throw new WaypostError('MANIFEST_INVALID', { detail: `The key column ${missing} of ${name} is not among its columns.` });
  }
}

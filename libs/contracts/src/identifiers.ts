import { WaypostError } from './errors.js';

/** A table as PostgreSQL's catalog spells it: no quotes, case as stored. */
export interface TableIdentifier {
  schema: string;
  table: string;
}

/** NAMEDATALEN - 1: PostgreSQL would silently cut a longer identifier. */
const MAX_IDENTIFIER_BYTES = 63;
/** As PostgreSQL's scanner: without quotes, every character beyond ASCII counts as a letter. */
const PART = /"(?:[^"\0]|"")+"|[A-Za-z_\u{80}-\u{10ffff}][\w$\u{80}-\u{10ffff}]*/uy;

/**
 * The only place where an identifier enters SQL text: always quoted, inner quotes doubled.
 */
export function quoteIdentifier(name: string): string {
  if (name.includes('\0')) throw new WaypostError('NAME_INVALID', { detail: 'An identifier holds a NUL character.' });
  return `"${name.replaceAll('"', '""')}"`;
}

/** `"schema"."table"`, ready for SQL text. */
export function quoteTable({ schema, table }: TableIdentifier): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(table)}`;
}

/**
 * Reads a table name as SQL would: `users`, `sales.orders`, `"Odd Schema"."Select"`. Unquoted parts fold to lower case,
 * a missing schema means `public`.
 * @throws WaypostError NAME_INVALID
 */
export function parseTableName(name: string): TableIdentifier {
  const [first, second, ...rest] = splitName(name) ?? [];
  if (first === undefined || rest.length > 0) throw invalidName(name, 'is not of the form table or schema.table');
  return second === undefined ? { schema: 'public', table: first } : { schema: first, table: second };
}

/**
 * Reads a column name as SQL would: `full_name`, `"Full Name"`.
 * @throws WaypostError NAME_INVALID
 */
export function parseColumnName(name: string): string {
  const [column, ...rest] = splitName(name) ?? [];
  if (column === undefined || rest.length > 0) throw invalidName(name, 'is not a column name');
  return column;
}

function splitName(name: string): string[] | undefined {
  // A lone surrogate has no UTF-8 form: PostgreSQL would get another name.
  if (!name.isWellFormed()) return undefined;
  const parts: string[] = [];
  let at = 0;
  for (;;) {
    PART.lastIndex = at;
    const raw = PART.exec(name)?.[0];
    if (raw === undefined) return undefined;
    const part = raw.startsWith('"') ? raw.slice(1, -1).replaceAll('""', '"') : foldCase(raw);
    if (Buffer.byteLength(part) > MAX_IDENTIFIER_BYTES) throw invalidName(name, `is longer than ${MAX_IDENTIFIER_BYTES} bytes`);
    parts.push(part);
    at += raw.length;
    if (at === name.length) return parts;
    if (name[at] !== '.') return undefined;
    at += 1;
  }
}

/** PostgreSQL folds only ASCII letters in a multi-byte encoding. */
function foldCase(part: string): string {
  return part.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}

function invalidName(name: string, why: string): WaypostError {
  return new WaypostError('NAME_INVALID', { detail: `${JSON.stringify(name)} ${why}.` });
}

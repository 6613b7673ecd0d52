import type { Column, Table } from './tables.js';

/** SQL of a value for the row number `n`. Other numbers give other keys; values repeat, and some are NULL. */
const VALUES: Readonly<Record<Column['type'], (n: string) => string>> = {
  bigint: (n) => n,
  uuid: (n) => `md5('uuid' || ${n})::uuid`,
  text: (n) => `CASE WHEN ${n} % 11 = 0 THEN NULL ELSE repeat('ä ' || ${n} % 97, 1 + ${n} % 3) END`,
  int: (n) => `${n} % 1000`,
  numeric: (n) => `${n} % 1000 / 7.0`,
  float8: (n) => `CASE ${n} % 9 WHEN 0 THEN '-0' WHEN 1 THEN 'NaN' ELSE ${n} / 3.0 END::float8`,
  boolean: (n) => `${n} % 3 > 0`,
  timestamptz: (n) => `'2024-02-29 12:00:00.000001Z'::timestamptz + ${n} % 5000 * interval '1001 ms'`,
  bytea: (n) => `decode(repeat(md5(${n}::text), ${n} % 4), 'hex')`,
  jsonb: (n) => `jsonb_build_object('n', ${n} % 50, 'list', ARRAY[${n} % 3, 1.50])`,
  'text[]': (n) => `ARRAY['a', NULL, 'ß' || ${n} % 10]`,
  macaddr: (n) => `('02' || left(md5(${n}::text), 10))::macaddr`,
};

/** Rows of a table that others refer to, in an order of the salt's own. */
const chosen = (table: string, salt: number, limit: string): string =>
  `ARRAY(SELECT id FROM ${table} ORDER BY md5(id::text || '/${salt}') LIMIT ${limit})`;

/** Of a row's key; parts of a key of several columns repeat. */
export function keyValue({ key }: Table, column: Column, n: string): string {
  if (key.length === 1) return column.type === 'text' ? `'é' || md5(${n}::text)` : VALUES[column.type](n);
  return column.type === 'text' ? `'A' || ${n} / 3` : `(${n} % 3)::${column.type}`;
}

/** SQL of a column's value that is no key and refers to no other table. */
export const plainValue = ({ type }: Column, n: string): string => VALUES[type](n);

interface Insertion {
  /** The number of the first row. */
  first: number;
  count: number;
}

/** SQL that inserts rows numbered from `first`, which refer to rows that are there. */
export function insertRows(table: Table, { first, count }: Insertion, onConflict = 'DO NOTHING'): string {
  const { name, columns, key } = table;
  const references = [...new Set(columns.flatMap(({ of }) => of ?? []))];
  const pools = references.map((other) => `${chosen(other, first, '5000')} AS ${other}`);
  const value = (column: Column): string => {
    // A number of its own for each table, so that pairs of two keys differ.
    if (column.of) return `pool.${column.of}[1 + (n * ${column.of.length} + n / 7) % greatest(cardinality(pool.${column.of}), 1)]`;
    return key.includes(column.name) ? keyValue(table, column, 'n') : plainValue(column, 'n');
  };
  return `INSERT INTO ${name} (${columns.map((column) => column.name).join(', ')})
    SELECT ${columns.map(value).join(', ')}
    FROM generate_series(${first}, ${first + count - 1}) AS n${pools.length > 0 ? `, (SELECT ${pools.join(', ')}) AS pool` : ''}
    ON CONFLICT ${onConflict}`;
}

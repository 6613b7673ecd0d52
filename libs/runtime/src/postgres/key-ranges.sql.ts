import { quoteIdentifier } from '@waypost/contracts';
import type { CatalogColumn } from './catalog.js';
import { orderOfKey, type RowSource } from './copy-rows.js';

export interface KeyedSource extends RowSource {
  /** Of the key, in key order. */
  keyColumns: readonly Pick<CatalogColumn, 'name' | 'type' | 'typeOid'>[];
}

/** Rows of one range; of many ranges; or all. */
type Bounds = { lower?: true; upper?: true } | 'many';

/**
 * Rows in canonical order, each with its range's number in front, between bounds: more than the lower key, not more than the upper one. Parameters: the numbers of
 * the ranges (one, or an array), then the columns of the lower keys, then those of the upper keys (values, or arrays of them).
 */
export function rangeQuery(source: KeyedSource, bounds: Bounds): string {
  const { layout, table, where } = source;
  const columns = layout.columns.map(({ name }) => quoteIdentifier(name)).join(', ');
  const order = orderOfKey(layout.key, source.keyOrders, quoteIdentifier);
  const bound = boundsOf(source, bounds);
  // The line break keeps a comment at the end of the plan's expression from swallowing the rest.
  const conditions = [...(where === undefined ? [] : [`(${where}\n)`]), ...bound.conditions];
  const filter = conditions.length > 0 ? ` WHERE ${conditions.join(' AND ')}` : '';
  const rows = (list: string): string => `SELECT ${list} FROM ${table}${filter} ORDER BY ${order.join(', ')}`;
  if (bounds !== 'many') return rows(`CAST($1 AS pg_catalog.int4), ${columns}`);
  // A subquery with an order of its own stays one: the ranges come one after another, each in its order.
  return `SELECT r.range, t.* FROM ${bound.from} CROSS JOIN LATERAL (${rows(columns)}) AS t`;
}

function boundsOf(source: KeyedSource, bounds: Bounds): { from: string; conditions: string[] } {
  const count = source.keyColumns.length;
  const many = bounds === 'many';
  const hasLower = many || bounds.lower === true;
  const typed = source.keyColumns.map(({ type }, at) => ({
    lower: `CAST($${2 + at} AS ${type}${many ? '[]' : ''})`,
    upper: `CAST($${2 + at + (hasLower ? count : 0)} AS ${type}${many ? '[]' : ''})`,
  }));
  const arrays = ['CAST($1 AS pg_catalog.int4[])', ...typed.map(({ lower }) => lower), ...typed.map(({ upper }) => upper)];
  const names = ['range', ...typed.map((_, at) => `lower_${at}`), ...typed.map((_, at) => `upper_${at}`)];
  const from = `ROWS FROM (${arrays.map((array) => `pg_catalog.unnest(${array})`).join(', ')}) AS r(${names.join(', ')})`;
  const valuesOf = (side: 'lower' | 'upper'): string[] => typed.map((column, at) => (many ? `r.${side}_${at}` : column[side]));
  const conditions = [
    ...(hasLower ? compare(source, '>', valuesOf('lower')) : []),
    ...(many || bounds.upper ? compare(source, '<=', valuesOf('upper')) : []),
  ];
  return { from, conditions };
}

function compare({ layout, keyOrders }: KeyedSource, operator: '>' | '<=', values: readonly string[]): string[] {
  const row = orderOfKey(layout.key, keyOrders, quoteIdentifier);
  const bound = orderOfKey(layout.key, keyOrders, (name) => values[layout.key.indexOf(name)] as string);
  if (row.length === 1) return [`${row[0]} ${operator} ${bound[0]}`];
  // Of the first column alone the planner knows better how many rows are left.
  return [`${row[0]} ${operator === '>' ? '>=' : '<='} ${bound[0]}`, `ROW(${row.join(', ')}) ${operator} ROW(${bound.join(', ')})`];
}

/**
 * Rows with these keys, each with its key's number in front. Parameters: the numbers as an array, in order, then the columns of the keys as arrays. What is in
 * the database's own form is compared by the type's own operator: any index on the key serves, whatever its order.
 */
export function rowsQuery({ layout, table, where, keyColumns }: KeyedSource): string {
  const arrays = ['CAST($1 AS pg_catalog.int4[])', ...keyColumns.map(({ type }, at) => `CAST($${2 + at} AS ${type}[])`)];
  const from = `ROWS FROM (${arrays.map((array) => `pg_catalog.unnest(${array})`).join(', ')}) AS r(range, ${namesOf(keyColumns).join(', ')})`;
  const conditions = [
    ...(where === undefined ? [] : [`(${where}\n)`]),
    ...keyColumns.map(({ name }, at) => `${quoteIdentifier(name)} = r.key_${at}`),
  ];
  const columns = layout.columns.map(({ name }) => quoteIdentifier(name)).join(', ');
  // Its OFFSET keeps it a subquery of its own: for each key it is looked up once, in the order of the numbers.
  return `SELECT r.range, t.* FROM ${from} CROSS JOIN LATERAL (SELECT ${columns} FROM ${table} WHERE ${conditions.join(' AND ')} OFFSET 0) AS t`;
}

/**
 * In which chunk each key lies: how many border keys are less than it, and how many are not more; then the key. In the order of the keys. $1 and so on: the
 * columns of the border keys as arrays, then the columns of the keys as arrays of text, or of their types.
 */
export function locateQuery({ layout, keyOrders, keyColumns }: KeyedSource, keysAs: 'text' | 'typed' = 'text'): string {
  const names = namesOf(keyColumns).join(', ');
  const arrays = (first: number, typeOf: (at: number) => string): string =>
    keyColumns.map((_, at) => `pg_catalog.unnest(CAST($${first + at} AS ${typeOf(at)}[]))`).join(', ');
  const typeOf = (at: number): string => keyColumns[at]!.type;
  const keys = keyColumns.map(({ type }, at) => `CAST(key_${at} AS ${type})`);
  const order = orderOfKey(layout.key, keyOrders, (name) => `key_${layout.key.indexOf(name)}`).join(', ');
  return `
    SELECT less::int4, "notMore"::int4, ${names} FROM (
      SELECT is_border, ${names}, count(*) FILTER (WHERE is_border) OVER (ORDER BY ${order}, is_border) AS less,
             count(*) FILTER (WHERE is_border) OVER (ORDER BY ${order}) AS "notMore"
      FROM (
        SELECT true AS is_border, b.* FROM ROWS FROM (${arrays(1, typeOf)}) AS b(${names})
        UNION ALL SELECT false, ${keys.join(', ')}
        FROM ROWS FROM (${arrays(1 + keyColumns.length, keysAs === 'text' ? () => 'pg_catalog.text' : typeOf)}) AS k(${names})
      ) AS merged
    ) AS counted WHERE NOT is_border ORDER BY ${order}`;
}

function namesOf(keyColumns: KeyedSource['keyColumns']): string[] {
  return keyColumns.map((_, at) => `key_${at}`);
}

/** Columns' types that are domains: what a domain's check refuses cannot be a bound. $1: oids of types. */
export const READ_DOMAINS = "SELECT oid::int8 AS oid FROM pg_type WHERE oid = ANY($1::oid[]) AND typtype = 'd'";

/**
 * Whether an index of a table gives its rows in the canonical order: only then is a range cheap to read. $1: oid of the table, $2: names of the key's columns,
 * $3: for each of them whether it is ordered by its bytes.
 */
export const HAS_ORDERED_INDEX = `
  SELECT EXISTS (
    SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam
    WHERE i.indrelid = $1::oid AND am.amname = 'btree' AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts >= cardinality($2::text[])
      AND (SELECT bool_and(a.attname = k.name AND i.indoption[k.at - 1] = 0 AND o.opcdefault
                           AND (NOT k.by_bytes OR i.indcollation[k.at - 1] = 'pg_catalog."C"'::regcollation))
           FROM unnest($2::text[], $3::boolean[]) WITH ORDINALITY AS k(name, by_bytes, at)
           JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k.at - 1]
           JOIN pg_opclass o ON o.oid = i.indclass[k.at - 1])
  ) AS "hasIndex"`;

import { parseTableName, quoteIdentifier, quoteTable } from '@waypost/contracts';

/** A column of a unique index. */
export interface UniqueColumn {
  name: string;
  /** As format_type prints it, without modifier. */
  type: string;
  /** Characters, where the type is limited; else negative. */
  length: number;
  /** NULL is allowed, and differs from any other NULL. */
  mayBeNull: boolean;
  isReferenced: boolean;
  references: boolean;
}

const NUMBERS = /^(smallint|integer|bigint|numeric|real|double precision)$/;
const STRINGS = /^(text|character varying|character)$/;
const MOMENTS = /^(date|timestamp without time zone|timestamp with time zone)$/;

/**
 * A value that no row of the table has, for one of a unique index's columns: NULL where it may be, else one beyond all others, or at random. Columns that foreign
 * keys reference are left alone, since their actions would fire.
 * @param columns those that may be written to
 * @returns SQL of a value for a row `d` with a `position`; undefined where no column takes one
 */
export function temporaryValue(table: string, columns: readonly UniqueColumn[]): { column: string; value: string } | undefined {
  const free = columns.filter(({ isReferenced }) => !isReferenced);
  const nullable = free.find(({ mayBeNull }) => mayBeNull);
  if (nullable) return { column: nullable.name, value: 'NULL' };
  for (const { name, type, length, references } of free) {
    const value = references
      ? undefined
      : generate(`(SELECT %(${quoteIdentifier(name)}) FROM ${quoteTable(parseTableName(table))})`, type, length);
    if (value !== undefined) return { column: name, value };
  }
  return undefined;
}

function generate(aggregate: string, type: string, length: number): string | undefined {
  const of = (name: string): string => aggregate.replace('%', `pg_catalog.${name}`);
  if (type === 'uuid') return 'pg_catalog.gen_random_uuid()';
  if (NUMBERS.test(type)) return `LEAST(${of('min')}, 0) - d.position`;
  if (MOMENTS.test(type)) return `(${of('max')} + d.position * '1 day'::pg_catalog.interval)`;
  if (!STRINGS.test(type)) return undefined;
  const random = "pg_catalog.replace(pg_catalog.gen_random_uuid()::pg_catalog.text, '-', '')";
  return length > 0 ? `pg_catalog.left(${random}, ${length})` : random;
}

import { parseTableName, quoteIdentifier, quoteTable } from '@waypost/contracts';

/** A column of a unique index. */
export interface UniqueColumn {
  name: string;
  /** As format_type prints it, without modifier; of a domain what it is made of. */
  type: string;
  /** Characters, where the type is limited; else negative. */
  length: number;
  /** NULL is allowed, and differs from any other NULL. */
  mayBeNull: boolean;
  /** A foreign key wants its value to be another table's. */
  references: boolean;
}

/** SQL of a value for a row `d` with a `position`. */
export interface TemporaryValue {
  column: string;
  value: string;
}

const NUMBERS = /^(smallint|integer|bigint|numeric|real|double precision)$/;
const STRINGS = /^(text|character varying|character|(\w+\.)?citext)$/;
const MOMENTS = /^(date|timestamp without time zone|timestamp with time zone)$/;

/**
 * Values that no row of the table has, for one of a unique index's columns: NULL where it may be, those beyond all others, or at random. A check constraint, or the
 * type's range, may refuse one of them.
 * @param columns those that may be written to
 */
export function temporaryValues(table: string, columns: readonly UniqueColumn[]): TemporaryValue[] {
  const nulls = columns.filter(({ mayBeNull }) => mayBeNull).map(({ name }) => ({ column: name, value: 'NULL' }));
  const free = columns.filter(({ references }) => !references);
  const generated = free.flatMap(({ name, type, length }) => {
    const extreme = (which: 'min' | 'max'): string =>
      `(SELECT pg_catalog.${which}(${quoteIdentifier(name)}) FROM ${quoteTable(parseTableName(table))})`;
    return generate(extreme, type, length).map((value) => ({ column: name, value }));
  });
  return [...nulls, ...generated];
}

function generate(extreme: (which: 'min' | 'max') => string, type: string, length: number): string[] {
  if (type === 'uuid') return ['pg_catalog.gen_random_uuid()'];
  if (NUMBERS.test(type)) return [`LEAST(${extreme('min')}, 0) - d.position`, `GREATEST(${extreme('max')}, 0) + d.position`];
  if (MOMENTS.test(type)) {
    const days = "d.position * '1 day'::pg_catalog.interval";
    return [`(${extreme('max')} + ${days})`, `(${extreme('min')} - ${days})`];
  }
  if (!STRINGS.test(type)) return [];
  const random = "pg_catalog.replace(pg_catalog.gen_random_uuid()::pg_catalog.text, '-', '')";
  return [length > 0 ? `pg_catalog.left(${random}, ${length})` : random];
}

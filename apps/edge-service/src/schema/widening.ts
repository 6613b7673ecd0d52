/** Each whole number of a type is one of the next. */
const INTEGERS = ['smallint', 'integer', 'bigint'];
/** As `format_type` prints a type with a modifier: `character varying(20)`, `timestamp(3) with time zone`. */
const MODIFIED = /^(character varying|bit varying|numeric|timestamp|time|interval)(?:\((\d+)(?:,(-?\d+))?\))?( with(?:out)? time zone)?$/;

/**
 * Whether each value of a type is also one of the other, which prints and sends it as central does after the same change. Names as `format_type` prints
 * them. What is not listed here is not known to be so: user-defined types, arrays, `character(n)`, whose values are filled with blanks.
 */
export function isWidening(from: string, to: string): boolean {
  if (from === to) return false;
  if (INTEGERS.includes(from)) return INTEGERS.indexOf(from) < INTEGERS.indexOf(to);
  if (from === 'real') return to === 'double precision';
  const [old, wide] = [MODIFIED.exec(from), MODIFIED.exec(to)];
  if (!old) return false;
  const [, base, length, scale, zone] = old;
  if (base === 'character varying' && to === 'text') return true;
  if (!wide || wide[1] !== base || wide[4] !== zone || length === undefined) return false;
  // Without a modifier every length, precision and scale is allowed.
  if (wide[2] === undefined) return true;
  return Number(wide[2]) >= Number(length) && wide[3] === scale;
}

import { literalsOf } from './sql-parameters.js';

/** Words that PostgreSQL takes for a moment where it reads a literal as a date or time; `epoch` and `infinity` never change. */
const MOVING = /(?<![a-z])(?:now|today|tomorrow|yesterday|allballs)(?![a-z])/i;
/** Escapes could spell such a word. */
const ESCAPED = /^(?:[eE]'|U&').*\\/s;

/**
 * Literals of a query that PostgreSQL made a constant of when it stored the query as a view, and that mean another moment tomorrow: `'today'`, also within
 * arrays, ranges and composites. A text that merely has such a word is stored as it is written, and is none.
 * @param stored the view, as pg_get_viewdef prints it
 * @returns as they are written in the query; in doubt, one too many
 */
export function foldedLiterals(query: string, stored: string): string[] {
  const kept = literalsOf(stored).map(contentOf);
  return literalsOf(query).filter((literal) => {
    if (ESCAPED.test(literal)) return true;
    if (!MOVING.test(literal)) return false;
    const at = kept.indexOf(contentOf(literal));
    if (at === -1) return true;
    kept.splice(at, 1);
    return false;
  });
}

function contentOf(literal: string): string {
  const dollar = /^\$[^$]*\$/.exec(literal)?.[0];
  if (dollar !== undefined) return literal.slice(dollar.length, -dollar.length);
  return literal
    .replace(/^(?:U&|[eE])?'/, '')
    .slice(0, -1)
    .replaceAll("''", "'");
}

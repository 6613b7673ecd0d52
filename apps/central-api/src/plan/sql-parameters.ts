/** What may stand in an SQL name: PostgreSQL's scanner takes every character beyond ASCII for a letter. */
const WORD = String.raw`\w\u0080-\uffff`;
const NAME = String.raw`[A-Za-z_\u0080-\uffff][${WORD}]*`;

/**
 * What `:name` must not be looked for in: quoted text and comments. Tried in this order at each position; the last
 * alternative is a parameter, unless the colon follows a word, a bracket or another colon (casts, array slices).
 */
const TOKEN = new RegExp(
  [
    String.raw`(?<![${WORD}$])[eE]'(?:[^'\\]|\\[\s\S]|'')*'`,
    String.raw`'(?:[^']|'')*'`,
    String.raw`"(?:[^"]|"")*"`,
    String.raw`--[^\n\r]*`,
    String.raw`(?<![${WORD}$])\$(?<tag>${NAME}|)\$[\s\S]*?\$\k<tag>\$`,
    String.raw`/\*`,
    String.raw`(?<![${WORD}:)\]]):(?<parameter>${NAME})`,
  ].join('|'),
  'g',
);

/**
 * Replaces each parameter of an SQL text by what `render` gives for its name. Text in quotes, dollar quotes and (nested) comments
 * is left alone, and so are casts (`::`) and array slices (`a[1:n]`). Line breaks stay where they are.
 * @param render gets the name and where its colon stands
 */
export function renderParameters(sql: string, render: (name: string, position: number) => string): string {
  let result = '';
  let done = 0;
  TOKEN.lastIndex = 0;
  for (let token = TOKEN.exec(sql); token; token = TOKEN.exec(sql)) {
    if (token[0] === '/*') TOKEN.lastIndex = endOfComment(sql, token.index);
    const name = token.groups?.['parameter'];
    if (name === undefined) continue;
    result += sql.slice(done, token.index) + render(name, token.index);
    done = TOKEN.lastIndex;
  }
  return result + sql.slice(done);
}

/** The quoted strings of an SQL text as they are written: '…', E'…', U&'…' and dollar-quoted ones; none in comments or quoted names. */
export function literalsOf(sql: string): string[] {
  const literals: string[] = [];
  TOKEN.lastIndex = 0;
  for (let token = TOKEN.exec(sql); token; token = TOKEN.exec(sql)) {
    if (token[0] === '/*') TOKEN.lastIndex = endOfComment(sql, token.index);
    if (!/^(?:[eE]?'|\$)/.test(token[0])) continue;
    const isUnicode = /[uU]&$/.test(sql.slice(0, token.index));
    literals.push(`${isUnicode ? 'U&' : ''}${token[0]}`);
  }
  return literals;
}

/** Names of an SQL text's parameters, each once, in order of appearance. */
export function parametersOf(sql: string): string[] {
  return [...parameterLines(sql).keys()];
}

/** As parametersOf, with the line of each one's first appearance, from 0. */
export function parameterLines(sql: string): Map<string, number> {
  const lines = new Map<string, number>();
  renderParameters(sql, (name, position) => {
    if (!lines.has(name)) lines.set(name, lineAt(sql, position));
    return '';
  });
  return lines;
}

/** The line of a position in a text, from 0. */
export function lineAt(text: string, position: number): number {
  return text.slice(0, position).split('\n').length - 1;
}

/** PostgreSQL's block comments nest. */
function endOfComment(sql: string, start: number): number {
  const border = /\/\*|\*\//g;
  border.lastIndex = start;
  let depth = 0;
  for (let match = border.exec(sql); match; match = border.exec(sql)) {
    depth += match[0] === '/*' ? 1 : -1;
    if (depth === 0) return border.lastIndex;
  }
  return sql.length;
}

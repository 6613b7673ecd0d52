/**
 * What `:name` must not be looked for in: quoted text and comments. Tried in this order at each position; the last
 * alternative is a parameter, unless the colon follows a word, a bracket or another colon (casts, array slices).
 */
const TOKEN = new RegExp(
  [
    String.raw`(?<![\w$])[eE]'(?:[^'\\]|\\[\s\S]|'')*'`,
    String.raw`'(?:[^']|'')*'`,
    String.raw`"(?:[^"]|"")*"`,
    String.raw`--[^\n]*`,
    String.raw`(?<![\w$])\$(?<tag>[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*|)\$[\s\S]*?\$\k<tag>\$`,
    String.raw`/\*`,
    String.raw`(?<![\w:)\]]):(?<parameter>[A-Za-z_]\w*)`,
  ].join('|'),
  'g',
);

/**
 * Replaces each parameter of an SQL text by what `render` gives for its name. Text in quotes, dollar quotes and (nested) comments
 * is left alone, and so are casts (`::`) and array slices (`a[1:n]`). Line breaks stay where they are.
 */
export function renderParameters(sql: string, render: (name: string) => string): string {
  let result = '';
  let done = 0;
  TOKEN.lastIndex = 0;
  for (let token = TOKEN.exec(sql); token; token = TOKEN.exec(sql)) {
    if (token[0] === '/*') TOKEN.lastIndex = endOfComment(sql, token.index);
    const name = token.groups?.['parameter'];
    if (name === undefined) continue;
    result += sql.slice(done, token.index) + render(name);
    done = TOKEN.lastIndex;
  }
  return result + sql.slice(done);
}

/** Names of an SQL text's parameters, each once, in order of appearance. */
export function parametersOf(sql: string): string[] {
  const names = new Set<string>();
  renderParameters(sql, (name) => {
    names.add(name);
    return '';
  });
  return [...names];
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

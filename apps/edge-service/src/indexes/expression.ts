/** Texts and quoted names, brackets, and what begins a comment, another statement or a text that dollars quote. */
const TOKENS = /'(?:[^']|'')*'|"(?:[^"]|"")*"|[()[\]]|--|\/\*|[;$'"]/g;
const OPENING: Record<string, string> = { ')': '(', ']': '[' };

/**
 * Whether a text of SQL stays within brackets that are put around it. PostgreSQL itself says afterwards whether it is an expression. What it never prints,
 * such as single backslashes, counts as no.
 */
export function staysWithinBrackets(text: string): boolean {
  if (text.replaceAll('\\\\', '').includes('\\')) return false;
  const open: string[] = [];
  for (const [token] of text.matchAll(TOKENS)) {
    if (token.length > 1 && (token.startsWith("'") || token.startsWith('"'))) continue;
    if (token === '(' || token === '[') open.push(token);
    else if (OPENING[token] === undefined || open.pop() !== OPENING[token]) return false;
  }
  return open.length === 0;
}

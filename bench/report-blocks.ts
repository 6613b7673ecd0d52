import { readFile, writeFile } from 'node:fs/promises';

/** A page's generated parts stand between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`; all else is written by hand and stays. */
export function replaceBlock(page: string, name: string, content: string): string {
  const [begin, end] = [`<!-- bench:${name} -->`, `<!-- /bench:${name} -->`];
  const from = page.indexOf(begin);
  const to = page.indexOf(end, from);
  if (from < 0 || to < 0) throw new Error(`There is no ${begin} … ${end} to write to.`);
  return `${page.slice(0, from + begin.length)}\n\n\`\`\`\n${content.trim()}\n\`\`\`\n\n${page.slice(to)}`;
}

/** Puts a case's report into its block of the page. @throws Error when the page has no such block */
export async function writeBlock(path: string, name: string, content: string): Promise<void> {
  await writeFile(path, replaceBlock(await readFile(path, 'utf8'), name, content));
}

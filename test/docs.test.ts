import { glob, readFile } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';

const ROOT = join(import.meta.dirname, '..');
const read = (path: string): Promise<string> => readFile(join(ROOT, path), 'utf8');

async function pagesIn(...patterns: string[]): Promise<string[]> {
  const pages: string[] = [];
  for (const pattern of patterns) for await (const page of glob(pattern, { cwd: ROOT })) pages.push(page);
  return pages.sort();
}

const PAGES = await pagesIn('*.md', 'docs/*.md', 'docs/adr/*.md', 'docs/runbooks/*.md');

/** As GitHub makes it of a heading. */
function anchorOf(heading: string): string {
  const text = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
  return text.replace(/[^\p{L}\p{N}\s_-]/gu, '').replaceAll(' ', '-');
}

test('every link within the repository leads to a file, and to a heading where it names one', async () => {
  const broken: string[] = [];
  for (const page of PAGES) {
    for (const [, target] of (await read(page)).matchAll(/\]\((?!https?:)([^)\s]+)\)/g)) {
      const [path, anchor] = (target as string).split('#') as [string, string?];
      const file = path === '' ? page : normalize(join(dirname(page), path));
      const text = await read(file).catch((error: NodeJS.ErrnoException) => (error.code === 'EISDIR' ? '' : undefined));
      const anchors = [...(text ?? '').matchAll(/^#+ (.*)$/gm)].map(([, heading]) => anchorOf(heading as string));
      if (text === undefined || (anchor !== undefined && !anchors.includes(anchor))) broken.push(`${page}: ${target}`);
    }
  }
  expect(broken).toEqual([]);
});

test('every page begins with what its reader can do after it', async () => {
  const pages = await pagesIn('docs/*.md');
  const others: string[] = [];
  for (const page of pages) if (!/^# .*\n\nAfter this page /.test(await read(page))) others.push(page);
  expect(others).toEqual([]);
});

test('every decision has a number of its own and a line in the index with that number and its title', async () => {
  const index = await read('docs/adr/README.md');
  const pages = (await pagesIn('docs/adr/*.md')).filter((page) => !page.endsWith('README.md'));
  const expected = await Promise.all(
    pages.map(async (page) => {
      const [, number, title] = /^# (\d+)\. (.*)/.exec(await read(page)) as unknown as [string, string, string];
      expect(page).toContain(`/${number.padStart(4, '0')}-`);
      return `| ${number} | [${title}](${page.slice('docs/adr/'.length)}) |`;
    }),
  );
  expect(new Set(expected.map((line) => line.split('|')[1])).size).toBe(expected.length);
  expect(expected.filter((line) => !index.includes(line))).toEqual([]);
});

test.each(['central-api', 'edge-service'])('the diagram of schema waypost shows every table of %s', async (app) => {
  const migrations = await Promise.all((await pagesIn(`apps/${app}/src/database/migrations/*.ts`)).map(read));
  const tables = migrations.flatMap((text) => [...text.matchAll(/CREATE TABLE waypost\.(\w+)/g)].map(([, name]) => name as string));
  expect(tables.length).toBeGreaterThan(10);
  const [, section = ''] = (await read('docs/architecture.md')).split('## Schema `waypost`');
  const diagrams = [...section.matchAll(/```mermaid\n(.*?)```/gs)].map(([, text]) => text as string).join('\n');
  expect(tables.filter((name) => !new RegExp(`\\b${name}\\b`).test(diagrams))).toEqual([]);
});

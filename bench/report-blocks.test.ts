import { readFile } from 'node:fs/promises';
import { projectRoot } from '../scripts/project-root.js';
import { replaceBlock } from './report-blocks.js';

const PAGE = `# Page

Why.

<!-- bench:full -->
<!-- /bench:full -->

What it says.

<!-- bench:idle -->

old

<!-- /bench:idle -->
`;

test('a report is written into its own block; what people wrote stays as it is', () => {
  const page = replaceBlock(PAGE, 'idle', 'bench idle\n\n  3 ms  $& $1\n');
  expect(page).toBe(PAGE.replace('\nold\n', () => '\n```\nbench idle\n\n  3 ms  $& $1\n```\n'));
});

test('writing once more replaces what was written', () => {
  const once = replaceBlock(PAGE, 'full', 'first');
  expect(once).toContain('Why.\n\n<!-- bench:full -->\n\n```\nfirst\n```\n\n<!-- /bench:full -->\n\nWhat it says.');
  expect(replaceBlock(replaceBlock(PAGE, 'full', 'second'), 'full', 'first')).toBe(once);
});

test.each([
  ['has no such block', '# Page'],
  ['does not end it', '<!-- bench:full -->'],
  ['ends it before it begins', '<!-- /bench:full --> <!-- bench:full -->'],
])('a page that %s is not written to', (_, page) => {
  expect(() => replaceBlock(page, 'full', 'report')).toThrow('<!-- bench:full -->');
});

const CASES = ['full', 'idle', 'identity', 'ledger', 'fanout', 'triggers', 'delta', 'drift', 'readers', 'slow-readers', 'audit'];
test.each(CASES)('docs/benchmarks.md has a block for %s', async (name) => {
  const page = await readFile(`${projectRoot}/docs/benchmarks.md`, 'utf8');
  expect(replaceBlock(page, name, 'report')).toContain(`<!-- bench:${name} -->\n\n\`\`\`\nreport\n`);
});

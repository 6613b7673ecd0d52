import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { projectRoot } from '../project-root.js';
import { configurationPage } from './configuration.js';

test('docs/configuration.md is what the schemas say: after a change run `npm run docs:configuration`', async () => {
  expect(await readFile(join(projectRoot, 'docs', 'configuration.md'), 'utf8')).toBe(configurationPage());
});

test('the page has settings of both services with their defaults', () => {
  const page = configurationPage();
  for (const row of [
    '`SYNC_PLAN` | required',
    '`MANIFEST_TTL` | `24h`',
    '`SYNC_INTERVAL` | `5m`',
    '`MIN_FREE_DISK` | `64MiB`',
    '`SEQ_URL` | off',
  ]) {
    expect(page).toContain(`| ${row} |`);
  }
});

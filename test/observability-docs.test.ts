import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');

async function sources(): Promise<string> {
  const texts: string[] = [];
  for await (const file of glob('{apps,libs}/**/src/**/*.ts', { cwd: ROOT })) {
    if (!file.endsWith('.test.ts')) texts.push(await readFile(join(ROOT, file), 'utf8'));
  }
  return texts.join('\n');
}

test('docs/observability.md names messages and attributes that the services write', async () => {
  const [page, code] = [await readFile(join(ROOT, 'docs', 'observability.md'), 'utf8'), await sources()];
  const messages = [...page.matchAll(/@MessageTemplate (?:= |in \[)((?:'[^']*'(?:, )?)+)/g)].flatMap(([, list]) =>
    [...(list as string).matchAll(/'([^']*)'/g)].map(([, message]) => message as string),
  );
  const attributes = [...page.matchAll(/`((?:waypost|db|http)\.[a-z_.]+)`/g)].map(([, name]) => name as string);
  expect(messages.length).toBeGreaterThan(10);
  expect(attributes.length).toBeGreaterThan(20);
  const columns = new Set([
    'waypost.sync_requests.request_id',
    'waypost.sync_requests.cycle_id',
    'waypost.edge_sync_log.id',
    'waypost.device_status',
  ]);
  const unknown = [...messages, ...attributes].filter((name) => !columns.has(name) && !code.includes(`'${name}'`));
  expect(unknown).toEqual([]);
});

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryFolder } from './support/temporary-folder.js';

const UNIT = 'deploy/waypost-edge.service';
const unit = readFileSync(UNIT, 'utf8');
const command = /^ExecStart=(.*)$/m.exec(unit)?.[1] ?? '';
const hasSystemd = spawnSync('systemd-analyze', ['--version']).status === 0;

test('the unit starts the service with the limits of npm run start:edge', () => {
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> };
  const flags = (text: string): string[] => text.match(/--[a-z-]+=\d+/g) ?? [];
  expect(flags(command)).toEqual(flags(scripts['start:edge'] ?? ''));
  expect(flags(command)).not.toEqual([]);
  for (const setting of scripts['start:edge']?.match(/MALLOC_\w+=\d+/g) ?? []) expect(unit).toContain(setting);
});

(hasSystemd ? test : test.skip)('systemd accepts the unit, and calls its exposure low', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'waypost-edge.service');
  // systemd looks for the program, which is installed on devices only.
  await writeFile(file, unit.replace(/^ExecStart=\S+/m, `ExecStart=${process.execPath}`));
  const verified = spawnSync('systemd-analyze', ['verify', file], { encoding: 'utf8' });
  expect(`${verified.stdout}${verified.stderr}`).toBe('');
  expect(verified.status).toBe(0);
  const judged = spawnSync('systemd-analyze', ['security', '--offline=yes', '--threshold=25', file], { encoding: 'utf8' });
  expect({ status: judged.status, last: judged.stdout.trim().split('\n').at(-1) }).toMatchObject({ status: 0 });
});

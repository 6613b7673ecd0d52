// Builds dist/ when a source is newer than the last good build (with --always in any case), and says nothing when there is nothing to do.
// `npm start`, `npm test` and `npm run bench` run it first, so that they never run an old build.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const stamp = join(root, 'dist', '.built');
const SOURCES = ['apps', 'libs', 'scripts', 'bench', 'tsconfig.json', 'nest-cli.json', 'package-lock.json'];

/** Whether a file that the build reads, or a folder (a file went or came), changed after `since`. */
function changedAfter(since, path) {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined || path.endsWith('.test.ts')) return false;
  return stat.mtimeMs > since || (stat.isDirectory() && readdirSync(path).some((name) => changedAfter(since, join(path, name))));
}

const builtAt = statSync(stamp, { throwIfNoEntry: false })?.mtimeMs ?? 0;
if (process.argv.includes('--always') || SOURCES.some((path) => changedAfter(builtAt, join(root, path)))) {
  const startedAt = new Date();
  // To stderr: stdout belongs to the command that runs after the build.
  console.error('waypost: building; about half a minute, only after a change …');
  rmSync(stamp, { force: true });
  const nest = join(root, 'node_modules', '@nestjs', 'cli', 'bin', 'nest.js');
  const { status, error } = spawnSync(process.execPath, [nest, 'build', '--all'], { cwd: root, stdio: ['ignore', 2, 2] });
  if (status !== 0) {
    console.error(`The build failed${error ? `: ${error.message}` : ''}. Nothing was started.`);
    process.exit(1);
  }
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, '');
  // What changed while the build ran counts as changed after it.
  utimesSync(stamp, startedAt, startedAt);
  console.error(`waypost: built in ${Math.round((Date.now() - startedAt.getTime()) / 1000)} s`);
}

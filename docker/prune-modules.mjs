// Removes from installed packages and from the build what Node never loads: types, sources, source maps, documents, builds for browsers.
// Licences stay.   node prune-modules.mjs FOLDER …
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const NEVER_LOADED = /\.(ts|mts|cts|map|md|markdown|flow|tsbuildinfo)$/i;
const LICENCE = /^(licen[cs]e|copying|notice)/i;
/** Whole folders: builds for browsers and bundlers, sources, locales that are not used. */
const OTHER_BUILDS = [
  'typeorm/browser',
  'rxjs/src',
  'rxjs/dist/bundles',
  'rxjs/dist/esm',
  'rxjs/dist/esm5',
  'rxjs/dist/types',
  'zod/src',
  'dayjs/esm',
  'dayjs/locale',
];

const isOtherBuild = (path) => OTHER_BUILDS.some((end) => path.endsWith(`node_modules/${end}`));

function prune(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      if (isOtherBuild(path)) rmSync(path, { recursive: true });
      else prune(path);
    } else if (NEVER_LOADED.test(entry.name) && !LICENCE.test(entry.name)) rmSync(path);
  }
}

for (const folder of process.argv.slice(2)) prune(folder);

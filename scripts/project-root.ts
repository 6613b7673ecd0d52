import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The clone's folder: the nearest one above this file that holds package.json, from the sources as well as from dist. */
export const projectRoot = findUpwards(import.meta.dirname);

function findUpwards(folder: string): string {
  if (existsSync(join(folder, 'package.json'))) return folder;
  const parent = dirname(folder);
  if (parent === folder) throw new Error(`no package.json above ${import.meta.dirname}`);
  return findUpwards(parent);
}

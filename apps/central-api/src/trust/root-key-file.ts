import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { open, readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Signer, WaypostError } from '@waypost/contracts';
import { signerOf } from './signing-keys.js';

/** Read or write for users who are neither the owner nor of the group. */
const FOR_OTHERS = 0o007;

/** A root key that is kept away from central, as PEM (PKCS #8). @throws WaypostError CONFIG_INVALID */
export async function readRootKey(file: string): Promise<Signer> {
  try {
    if (((await stat(file)).mode & FOR_OTHERS) !== 0) throw new Error(`every user of this machine can read it; run chmod 600 ${file}`);
    const key = createPrivateKey(await readFile(file, 'utf8'));
    if (key.asymmetricKeyType !== 'ed25519') throw new Error('it holds no Ed25519 key');
    return signerOf(key);
  } catch (cause) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: `${file} is no root key: ${(cause as Error).message}.`,
      hint: 'Name the file that waypost keys export-root wrote.',
      cause,
    });
  }
}

/** Makes a root key that central's database never holds. It is on disk when this returns. @throws WaypostError STORAGE_FAILED */
export async function makeRootKey(file: string): Promise<Signer> {
  const { privateKey } = generateKeyPairSync('ed25519');
  await writeRootKey(file, privateKey);
  return signerOf(privateKey);
}

/** For its owner alone, on disk when this returns. No file is replaced. @throws WaypostError STORAGE_FAILED */
export async function writeRootKey(file: string, key: KeyObject): Promise<void> {
  try {
    const handle = await open(file, 'wx', 0o600);
    try {
      await handle.writeFile(key.export({ format: 'pem', type: 'pkcs8' }));
      await handle.sync();
    } finally {
      await handle.close();
    }
    const folder = await open(dirname(file), 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  } catch (cause) {
    const isThere = (cause as NodeJS.ErrnoException).code === 'EEXIST';
    throw new WaypostError('STORAGE_FAILED', {
      detail: isThere ? `${file} is there already: no file is replaced by a root key.` : `${file}: ${(cause as Error).message}`,
      hint: 'Name a new file, in a folder that can be written.',
      cause,
    });
  }
}

import { chown, mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { IdentityFiles } from './identity-files.js';

const testAsRoot = process.getuid?.() === 0 ? test : test.skip;

testAsRoot('what root writes belongs to the folder’s user, who alone may read it', async () => {
  const parent = await mkdtemp(join(tmpdir(), 'waypost-identity-'));
  try {
    const folder = join(parent, 'identity');
    await mkdir(folder);
    await chown(folder, 1000, 1001);
    await new IdentityFiles(folder).storeRenewal({ key: 'k'.repeat(43), renewal: 'r' });
    const { uid, gid, mode } = await stat(join(folder, 'renewal.json'));
    expect({ uid, gid, mode: mode & 0o777 }).toEqual({ uid: 1000, gid: 1001, mode: 0o600 });
  } finally {
    await rm(parent, { recursive: true });
  }
});

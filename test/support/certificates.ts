import { chmod, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createAuthority } from '../../apps/central-api/src/certificates/create-authority.js';
import { parseHostName } from '../../apps/central-api/src/certificates/host-name.js';
import { issueServerCertificate } from '../../apps/central-api/src/certificates/issue-server-certificate.js';
import type { SignedCertificate } from '../../apps/central-api/src/certificates/signed-certificate.js';

export type { SignedCertificate };

const DAY_MS = 86_400_000;

/** A certificate authority of a test's own. */
export const newAuthority = (name = 'test authority'): Promise<SignedCertificate> => createAuthority({ name, days: 100 });

/** For 127.0.0.1 and localhost, valid now, unless told otherwise. */
export async function newCertificate(
  authority: SignedCertificate,
  { hosts = ['127.0.0.1', 'localhost'], days = 30, expired = false }: { hosts?: string[]; days?: number; expired?: boolean } = {},
): Promise<SignedCertificate> {
  const now = expired ? new Date(Date.now() - 2 * DAY_MS) : new Date();
  return issueServerCertificate({ authority, hosts: hosts.map(parseHostName), days: expired ? 1 : days, now });
}

/** Writes both files, each under another name first, as certbot and others do. */
export async function writePair(folder: string, { certificate, key }: SignedCertificate): Promise<{ certFile: string; keyFile: string }> {
  const files = { certFile: join(folder, 'server.crt'), keyFile: join(folder, 'server.key') };
  for (const [file, text] of [
    [files.keyFile, key],
    [files.certFile, certificate],
  ] as const) {
    await writeFile(`${file}.new`, text);
    await chmod(`${file}.new`, 0o600);
    await rename(`${file}.new`, file);
  }
  return files;
}

import { chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { WaypostError } from '@waypost/contracts';
import type { SignedCertificate } from './signed-certificate.js';

export type Owner = 'ca' | 'server';

/** Only its owner reads a key; everyone may read a certificate. */
const KEY_MODE = 0o600;
const CERTIFICATE_MODE = 0o644;

/** A folder with `ca.crt`, `ca.key`, `server.crt` and `server.key`, as `waypost certs` has it. */
export class CertificateFolder {
  constructor(private readonly path: string) {}

  certificateFile(owner: Owner): string {
    return join(this.path, `${owner}.crt`);
  }

  keyFile(owner: Owner): string {
    return join(this.path, `${owner}.key`);
  }

  /** Whether a certificate or a key of this owner is there. @throws WaypostError STORAGE_FAILED */
  async has(owner: Owner): Promise<boolean> {
    return ((await read(this.certificateFile(owner))) ?? (await read(this.keyFile(owner)))) !== undefined;
  }

  /** @throws WaypostError CONFIG_INVALID with the command that makes them where one of both files is missing; STORAGE_FAILED */
  async get(owner: Owner): Promise<SignedCertificate> {
    const [certificate, key] = [await read(this.certificateFile(owner)), await read(this.keyFile(owner))];
    if (certificate !== undefined && key !== undefined) return { certificate, key };
    throw new WaypostError('CONFIG_INVALID', {
      detail: `There is no ${certificate === undefined ? this.certificateFile(owner) : this.keyFile(owner)}.`,
      hint:
        owner === 'ca'
          ? 'Make the authority first: waypost certs init --dir DIR'
          : 'Make it first: waypost certs server --dir DIR --host NAME',
    });
  }

  /** Replaces both files, each at once: nobody reads a part of one. The key comes first. @throws WaypostError STORAGE_FAILED */
  async put(owner: Owner, { certificate, key }: SignedCertificate): Promise<void> {
    await this.write(this.keyFile(owner), key, KEY_MODE);
    await this.putCertificate(owner, certificate);
  }

  /** As `put`, of a key that stays. */
  async putCertificate(owner: Owner, certificate: string): Promise<void> {
    await this.write(this.certificateFile(owner), certificate, CERTIFICATE_MODE);
  }

  private async write(file: string, text: string, mode: number): Promise<void> {
    const unfinished = `${file}.${process.pid}.new`;
    try {
      await mkdir(this.path, { recursive: true });
      await writeFile(unfinished, text, { mode: KEY_MODE, flag: 'wx', flush: true });
      await chmod(unfinished, mode); // whatever the umask is
      await rename(unfinished, file);
    } catch (cause) {
      throw storageFailed(file, cause);
    }
  }
}

async function read(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw storageFailed(file, cause);
  }
}

function storageFailed(file: string, cause: unknown): WaypostError {
  return new WaypostError('STORAGE_FAILED', { detail: `${file}: ${(cause as Error).message}`, cause });
}

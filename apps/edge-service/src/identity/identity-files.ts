import { chmod, type FileHandle, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type KeyObject, createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { openTrust, type SignedTrust, thumbprintSchema, ulidSchema, WaypostError } from '@waypost/contracts';
import { z } from 'zod';

/** A private key, and what it enrolls or was enrolled with. */
export interface DeviceKey {
  privateKey: KeyObject;
  /** secretDigest of the enrollment token; of a key that is to replace another, the other's thumbprint. */
  token: string;
}

/** A key that central knows. */
export interface Identity extends DeviceKey {
  deviceId: string;
  fleet: string;
}

const keySchema = z.object({ privateKey: z.string(), token: z.string() });
const identitySchema = keySchema.extend({ deviceId: ulidSchema, fleet: ulidSchema });

/** Central's last renewal, which is no secret. */
const renewalSchema = z.object({ key: thumbprintSchema, renewal: z.string() });
export type StoredRenewal = z.infer<typeof renewalSchema>;

/** For TLS connections, in PEM. */
const certificateSchema = z.object({ key: thumbprintSchema, privateKey: z.string(), certificate: z.string() });
/** With the thumbprint of the device's key that central made it for. */
export type StoredCertificate = z.infer<typeof certificateSchema>;

/**
 * The files of IDENTITY_DIR: `identity.json`, the key that is in use; `enrolling.json`, one that central has not accepted yet; `renewal.json`;
 * `certificate.json`, the client certificate with its key; `trust.json`, whose manifests the device believes. Each is
 * replaced as a whole, and readable for the service's user alone: a key of which others may know a copy opens nothing.
 */
export class IdentityFiles {
  private pinned: SignedTrust | undefined;

  constructor(private readonly folder: string) {}

  /** @returns undefined where there is none @throws WaypostError IDENTITY_UNREADABLE */
  async identity(): Promise<Identity | undefined> {
    const read = await this.read('identity.json', identitySchema);
    return read && { ...read, privateKey: this.keyOf('identity.json', read.privateKey) };
  }

  /** @throws WaypostError IDENTITY_UNREADABLE */
  async enrolling(): Promise<DeviceKey | undefined> {
    const read = await this.read('enrolling.json', keySchema);
    return read && { ...read, privateKey: this.keyOf('enrolling.json', read.privateKey) };
  }

  /** Makes a key pair, and stores it before anything is sent: what was sent once can be sent again. @throws WaypostError IDENTITY_UNREADABLE */
  async makeKey(token: string): Promise<DeviceKey> {
    const { privateKey } = generateKeyPairSync('ed25519');
    await this.write('enrolling.json', { privateKey: pemOf(privateKey), token });
    return { privateKey, token };
  }

  /** Central accepted the key: it replaces the one before. @throws WaypostError IDENTITY_UNREADABLE */
  async accept({ privateKey, ...identity }: Identity): Promise<void> {
    await this.write('identity.json', { privateKey: pemOf(privateKey), ...identity });
    await this.attempt('enrolling.json', () => rm(this.pathOf('enrolling.json'), { force: true }));
  }

  async renewal(): Promise<StoredRenewal | undefined> {
    return this.read('renewal.json', renewalSchema);
  }

  /** @throws WaypostError IDENTITY_UNREADABLE */
  async storeRenewal(renewal: StoredRenewal): Promise<void> {
    await this.write('renewal.json', renewal);
  }

  async certificate(): Promise<StoredCertificate | undefined> {
    return this.read('certificate.json', certificateSchema);
  }

  /** @throws WaypostError IDENTITY_UNREADABLE */
  async storeCertificate(certificate: StoredCertificate): Promise<void> {
    await this.write('certificate.json', certificate);
  }

  /** The trust document that the device follows; undefined where it has none. @throws WaypostError IDENTITY_UNREADABLE */
  async trust(): Promise<SignedTrust | undefined> {
    return (this.pinned ??= await this.readTrust());
  }

  /** Replaces the one before. @throws WaypostError IDENTITY_UNREADABLE */
  async storeTrust(signed: SignedTrust): Promise<void> {
    await this.write('trust.json', signed);
    this.pinned = signed;
  }

  private async readTrust(): Promise<SignedTrust | undefined> {
    const read = await this.read('trust.json', z.unknown());
    try {
      return read === undefined ? undefined : openTrust(read);
    } catch (cause) {
      throw new WaypostError('IDENTITY_UNREADABLE', { detail: `${this.pathOf('trust.json')} is damaged.`, cause });
    }
  }

  private async read<T>(name: string, schema: z.ZodType<T>): Promise<T | undefined> {
    return this.attempt(name, async () => {
      const path = this.pathOf(name);
      const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return undefined;
        throw error;
      });
      if (!found) return undefined;
      if ((found.mode & 0o077) !== 0)
        throw this.unreadable(
          `${path} may be read by other users.`,
          `Run: chmod 600 ${path}. If others had access, enroll the device again.`,
        );
      const json = parse(await readFile(path, 'utf8'));
      const parsed = schema.safeParse(json);
      if (!parsed.success || json === undefined) throw this.unreadable(`${path} is damaged.`);
      return parsed.data;
    });
  }

  /** On disk before it returns, whole or not at all. */
  private async write(name: string, content: object): Promise<void> {
    await this.attempt(name, async () => {
      const path = this.pathOf(name);
      await mkdir(this.folder, { recursive: true, mode: 0o700 });
      const file = await open(`${path}.new`, 'w', 0o600);
      try {
        await chmod(`${path}.new`, 0o600);
        await giveTo(this.folder, file);
        await file.writeFile(JSON.stringify(content));
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(`${path}.new`, path);
      await syncFolder(dirname(path));
    });
  }

  private pathOf(name: string): string {
    return join(this.folder, name);
  }

  private keyOf(name: string, pem: string): KeyObject {
    try {
      return createPrivateKey(pem);
    } catch {
      throw this.unreadable(`${this.pathOf(name)} holds no private key.`);
    }
  }

  private async attempt<T>(name: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      if (cause instanceof WaypostError) throw cause;
      throw new WaypostError('IDENTITY_UNREADABLE', { detail: `${this.pathOf(name)}: ${(cause as Error).message}`, cause });
    }
  }

  private unreadable(detail: string, hint?: string): WaypostError {
    return new WaypostError('IDENTITY_UNREADABLE', { detail, ...(hint ? { hint } : {}) });
  }
}

function pemOf(key: KeyObject): string {
  return key.export({ format: 'pem', type: 'pkcs8' }).toString();
}

/** Undefined where it is not JSON. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** What root writes is for the service, whose user the folder belongs to. */
async function giveTo(folder: string, file: FileHandle): Promise<void> {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = await stat(folder);
  await file.chown(uid, gid);
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { WaypostError } from '@waypost/contracts';
import { TLS_POLICY } from './tls-policy.js';

/** Paths of PEM files. */
export interface TlsFiles {
  /** The server's certificate, then those of its issuers. */
  certFile: string;
  /** Its private key, without passphrase. */
  keyFile: string;
  /** Clients may show a certificate, which any authority may have signed: who is accepted is for the requests to decide. */
  asksForCertificates?: boolean;
}

/** A certificate with its private key, checked. */
export interface KeyPair {
  cert: string;
  key: string;
  /** The first one of `cert`. */
  certificate: X509Certificate;
}

/** Read or write for users who are neither the owner nor of the group. A group is allowed: Kubernetes gives mounted secrets to one (fsGroup). */
const OTHERS = 0o006;

/**
 * Reads a certificate and its key. An expired certificate is not refused: a device may have pinned it.
 * @throws WaypostError CONFIG_INVALID that names TLS_CERT or TLS_KEY and the file: it cannot be read, is no PEM, others may read the key, or
 * the two do not belong together
 */
export async function readKeyPair({ certFile, keyFile }: TlsFiles): Promise<KeyPair> {
  const cert = await readPem('TLS_CERT', certFile);
  const key = await readPem('TLS_KEY', keyFile);
  await assertPrivate(keyFile);
  const certificate = parseCertificate(cert, certFile);
  if (!certificate.checkPrivateKey(parseKey(key, keyFile))) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: `TLS_KEY: ${keyFile} is not the key of the certificate in ${certFile}.`,
      hint: 'Name a certificate and the key that it was made for. In a file with a chain, the server’s own certificate comes first.',
    });
  }
  assertServable({ cert, key }, certFile);
  return { cert, key, certificate };
}

async function readPem(variable: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: `${variable}: ${file} cannot be read (${(cause as NodeJS.ErrnoException).code}).`,
      hint: 'Check the path, and that the user of central-api may read the file and enter its folders.',
      cause,
    });
  }
}

async function assertPrivate(keyFile: string): Promise<void> {
  const { mode } = await stat(keyFile);
  if ((mode & OTHERS) === 0) return;
  throw new WaypostError('CONFIG_INVALID', {
    detail: `TLS_KEY: every user of the machine may read or write ${keyFile} (mode ${(mode & 0o777).toString(8)}).`,
    hint: `chmod 600 ${keyFile}; of a Kubernetes secret: defaultMode: 0400, with fsGroup.`,
  });
}

function parseCertificate(cert: string, certFile: string): X509Certificate {
  try {
    return new X509Certificate(cert);
  } catch (cause) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: `TLS_CERT: ${certFile} is not a certificate in PEM.`,
      hint: 'It begins with -----BEGIN CERTIFICATE-----.',
      cause,
    });
  }
}

function parseKey(key: string, keyFile: string): KeyObject {
  try {
    return createPrivateKey(key);
  } catch (cause) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: `TLS_KEY: ${keyFile} is not a private key in PEM without passphrase.`,
      hint: 'It begins with -----BEGIN PRIVATE KEY-----.',
      cause,
    });
  }
}

/** OpenSSL refuses some pairs that can be read: keys that are too short, chains that are damaged. */
function assertServable(pair: Pick<KeyPair, 'cert' | 'key'>, certFile: string): void {
  try {
    createSecureContext({ ...pair, ...TLS_POLICY });
  } catch (cause) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: `TLS_CERT: ${certFile} cannot be served: ${(cause as Error).message}`,
      hint: 'Make the certificate again, for instance with `waypost certs server`.',
      cause,
    });
  }
}

import 'reflect-metadata'; // the library needs it, and does not load it
import { createPrivateKey, webcrypto, X509Certificate as NodeCertificate } from 'node:crypto';
import { WaypostError } from '@waypost/contracts';
import * as x509 from '@peculiar/x509';

/** A certificate and its private key, as PEM. */
export interface SignedCertificate {
  /** The certificate, followed by that of its issuer unless it signed itself. */
  certificate: string;
  /** PKCS#8. */
  key: string;
}

/** A certificate's times. */
export interface Validity {
  /** From `now` on. */
  days: number;
  now?: Date;
}

export const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;
/** Devices whose clocks are late accept a certificate that was made just now. */
const BACKDATED_MS = DAY_MS;

x509.cryptoProvider.set(webcrypto);

export async function createKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

export async function keyToPem(key: webcrypto.CryptoKey): Promise<string> {
  const der = await webcrypto.subtle.exportKey('pkcs8', key);
  return `${x509.PemConverter.encode(der, 'PRIVATE KEY')}\n`;
}

/** @param name what the PEM is, for the error. @throws WaypostError CONFIG_INVALID unless it is an ECDSA P-256 key */
export async function keyFromPem(pem: string, name: string): Promise<webcrypto.CryptoKey> {
  try {
    const der = createPrivateKey(pem).export({ type: 'pkcs8', format: 'der' });
    return await webcrypto.subtle.importKey('pkcs8', der, ALGORITHM, true, ['sign']);
  } catch (cause) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: `${name} is not a private key for ECDSA P-256 in PEM.`,
      hint: 'Use the key that `waypost certs init` made.',
      cause,
    });
  }
}

/** @param name what the PEM is, for the error. @throws WaypostError CONFIG_INVALID */
export function certificateFromPem(pem: string, name: string): NodeCertificate {
  try {
    return new NodeCertificate(pem);
  } catch (cause) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: `${name} is not a certificate in PEM.`,
      hint: 'Name the file with its path.',
      cause,
    });
  }
}

/** Not before and not after, in whole seconds as certificates have them. @param latest a certificate does not outlive its issuer */
export function validity({ days, now = new Date() }: Validity, latest?: Date): { notBefore: Date; notAfter: Date } {
  const wanted = now.getTime() + days * DAY_MS;
  const notAfter = Math.min(wanted, latest?.getTime() ?? wanted);
  return { notBefore: wholeSeconds(Math.min(now.getTime(), notAfter) - BACKDATED_MS), notAfter: wholeSeconds(notAfter) };
}

function wholeSeconds(ms: number): Date {
  return new Date(Math.floor(ms / 1000) * 1000);
}

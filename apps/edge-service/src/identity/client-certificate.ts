import 'reflect-metadata'; // the library needs it, and does not load it
import { webcrypto, X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
/** Part of its life after which a certificate is renewed: a device that is offline for a while does not need it in time. */
const RENEW_AFTER = 2 / 3;

x509.cryptoProvider.set(webcrypto);

/** A new private key and the request for its certificate, both in PEM. Who the device is, central knows. */
export async function newCertificateRequest(): Promise<{ privateKey: string; csr: string }> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const request = await x509.Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm: ALGORITHM });
  const der = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  return { privateKey: x509.PemConverter.encode(der, 'PRIVATE KEY'), csr: request.toString('pem') };
}

/** Whether this is a certificate that has not yet to be renewed. @param now central's time, in seconds */
export function isFresh(certificate: string, now: number): boolean {
  const parsed = parse(certificate);
  if (!parsed) return false;
  const { validFromDate, validToDate } = parsed;
  const [from, to] = [validFromDate.getTime() / 1000, validToDate.getTime() / 1000];
  return now < from + (to - from) * RENEW_AFTER;
}

function parse(certificate: string): X509Certificate | undefined {
  try {
    return new X509Certificate(certificate);
  } catch {
    return undefined;
  }
}

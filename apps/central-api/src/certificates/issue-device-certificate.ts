import 'reflect-metadata'; // the library needs it, and does not load it
import { createPublicKey, type KeyObject } from 'node:crypto';
import { WaypostError } from '@waypost/contracts';
import * as x509 from '@peculiar/x509';
import type { CertifiedDevice } from './read-device-certificate.js';
import { validity } from './signed-certificate.js';

/** Short: a certificate is not taken back, it ends. */
const DEVICE_DAYS = 30;
/** Of the keys that sign certificates of devices. */
const ED25519 = { name: 'Ed25519' } as const;

export interface DeviceCertificateOptions extends CertifiedDevice {
  /** Ed25519, private. */
  authority: KeyObject;
  /** PKCS#10 in PEM. Its key counts, and nothing else that it says. */
  csr: string;
  now?: Date;
}

/**
 * A client certificate for a device, in PEM: for clients alone, valid for 30 days.
 * @throws WaypostError REQUEST_INVALID where the request is none of an ECDSA P-256 key, or was not signed by that key
 */
export async function issueDeviceCertificate({
  authority,
  csr,
  deviceId,
  thumbprint,
  ...times
}: DeviceCertificateOptions): Promise<string> {
  const publicKey = await requestedKey(csr);
  const certificate = await x509.X509CertificateGenerator.create({
    subject: [{ CN: [deviceId] }, { OU: [thumbprint] }],
    issuer: [{ CN: ['Waypost devices'] }],
    ...validity({ days: DEVICE_DAYS, ...times }),
    publicKey,
    signingKey: authority.toCryptoKey(ED25519, false, ['sign']),
    signingAlgorithm: ED25519,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(createPublicKey(authority).toCryptoKey(ED25519, true, ['verify'])),
    ],
  });
  return `${certificate.toString('pem')}\n`;
}

async function requestedKey(csr: string): Promise<x509.PublicKey> {
  try {
    const request = new x509.Pkcs10CertificateRequest(csr);
    const { asymmetricKeyDetails } = createPublicKey({ key: Buffer.from(request.publicKey.rawData), format: 'der', type: 'spki' });
    if (asymmetricKeyDetails?.namedCurve === 'prime256v1' && (await request.verify())) return request.publicKey;
  } catch {
    // says nothing that the device needs
  }
  throw new WaypostError('REQUEST_INVALID', { detail: 'csr is not a certificate request of an ECDSA P-256 key, signed by that key.' });
}

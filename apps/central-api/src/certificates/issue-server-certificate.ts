import 'reflect-metadata'; // the library needs it, and does not load it
import { createPrivateKey, createPublicKey, webcrypto } from 'node:crypto';
import { WaypostError } from '@waypost/contracts';
import * as x509 from '@peculiar/x509';
import type { HostName } from './host-name.js';
import {
  ALGORITHM,
  certificateFromPem,
  createKeys,
  keyFromPem,
  keyToPem,
  type SignedCertificate,
  validity,
  type Validity,
} from './signed-certificate.js';

export interface ServerCertificateOptions extends Validity {
  authority: SignedCertificate;
  /** At least one. The first becomes the subject's common name. */
  hosts: readonly HostName[];
  /** The server's private key as PEM; a new one by default. */
  key?: string;
}

/**
 * A server's certificate, signed by the authority: ECDSA P-256, for these hosts, for servers alone. The authority's own certificate follows it,
 * so that devices can pin the authority's fingerprint. It expires no later than the authority.
 * @throws WaypostError CONFIG_INVALID where the authority's key does not belong to its certificate, or the authority has expired
 */
export async function issueServerCertificate(options: ServerCertificateOptions): Promise<SignedCertificate> {
  const { authority, hosts, key, now = new Date() } = options;
  const signingKey = await keyFromPem(authority.key, 'ca.key');
  const issuer = certificateFromPem(authority.certificate, 'ca.crt');
  assertUsable(authority, issuer.validToDate, now);
  const { publicKey, keyPem } = await serverKey(key);
  const certificate = await x509.X509CertificateGenerator.create({
    subject: [{ CN: [(hosts[0] as HostName).value] }],
    issuer: new x509.X509Certificate(authority.certificate).subjectName,
    ...validity(options, issuer.validToDate),
    publicKey,
    signingKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(hosts.map(({ kind, value }) => ({ type: kind, value }))),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(await new x509.X509Certificate(authority.certificate).publicKey.export()),
    ],
  });
  return { certificate: `${certificate.toString('pem')}\n${authority.certificate}`, key: keyPem };
}

function assertUsable({ certificate, key }: SignedCertificate, expiresAt: Date, now: Date): void {
  if (!certificateFromPem(certificate, 'ca.crt').checkPrivateKey(createPrivateKey(key))) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: 'ca.key is not the key of ca.crt.',
      hint: 'Put back both files of one `waypost certs init`.',
    });
  }
  if (expiresAt > now) return;
  throw new WaypostError('CONFIG_INVALID', {
    detail: `The certificate authority expired at ${expiresAt.toISOString()}.`,
    hint: 'Make a new one with `waypost certs init --force`, and give its ca.crt to every device.',
  });
}

async function serverKey(pem: string | undefined): Promise<{ publicKey: webcrypto.CryptoKey; keyPem: string }> {
  if (pem === undefined) {
    const keys = await createKeys();
    return { publicKey: keys.publicKey, keyPem: await keyToPem(keys.privateKey) };
  }
  await keyFromPem(pem, 'server.key');
  const der = createPublicKey(createPrivateKey(pem)).export({ type: 'spki', format: 'der' });
  return { publicKey: await webcrypto.subtle.importKey('spki', der, ALGORITHM, true, ['verify']), keyPem: pem };
}

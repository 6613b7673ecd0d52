import 'reflect-metadata'; // the library needs it, and does not load it
import * as x509 from '@peculiar/x509';
import { ALGORITHM, createKeys, keyToPem, type SignedCertificate, validity, type Validity } from './signed-certificate.js';

/** It signs certificates of servers and clients, and no other authority. */
const LONGEST_PATH = 0;

/**
 * A new certificate authority: ECDSA P-256, signed by itself.
 * @param name its common name
 */
export async function createAuthority({ name, ...times }: { name: string } & Validity): Promise<SignedCertificate> {
  const keys = await createKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [name] }],
    ...validity(times),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, LONGEST_PATH, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: `${certificate.toString('pem')}\n`, key: await keyToPem(keys.privateKey) };
}

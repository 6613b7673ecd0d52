import type { KeyObject, X509Certificate } from 'node:crypto';

/** Whom a certificate is for: the device, and the key that it is known by. */
export interface CertifiedDevice {
  deviceId: string;
  /** RFC 7638, base64url. */
  thumbprint: string;
}

/** Whom `issueDeviceCertificate` made this one for. @returns undefined where none of these authorities signed it. Dates are not looked at */
export function readDeviceCertificate(certificate: X509Certificate, authorities: readonly KeyObject[]): CertifiedDevice | undefined {
  if (!authorities.some((authority) => certificate.verify(authority))) return undefined;
  const { CN, OU } = certificate.toLegacyObject().subject;
  return { deviceId: String(CN), thumbprint: String(OU) };
}

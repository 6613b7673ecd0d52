import { WaypostError } from '@waypost/contracts';

interface Reason {
  detail: string;
  hint: string;
}

const UNKNOWN: Reason = {
  detail: 'Central’s certificate is signed by no authority that this device trusts.',
  hint: 'Set CENTRAL_CA to the file of its authority (ca.crt of `waypost certs init`), or CENTRAL_FINGERPRINT to the fingerprint of its certificate or authority. If central’s authority has not changed, find out what answers at CENTRAL_URL.',
};
const CLOCK = 'Compare the device’s clock with central’s (docs/runbooks/clock-off.md)';
const EXPIRED: Reason = {
  detail: 'Central’s certificate, or its authority’s, has expired.',
  hint: `Renew it at central: \`waypost certs renew\`. ${CLOCK}, too. CENTRAL_CA must hold the authority that is valid now.`,
};
const NOT_YET: Reason = {
  detail: 'Central’s certificate is not valid yet.',
  hint: `${CLOCK}: most likely it is late.`,
};
const OTHER_NAME: Reason = {
  detail: 'Central’s certificate is not for the host of CENTRAL_URL.',
  hint: 'Use a name in CENTRAL_URL that the certificate has, or make one for this name at central: `waypost certs server --host NAME`.',
};
const NO_TLS: Reason = {
  detail: 'What answers at CENTRAL_URL does not speak TLS.',
  hint: 'Check scheme and port of CENTRAL_URL, and TLS_CERT and TLS_KEY of central.',
};
const TOO_OLD: Reason = {
  detail: 'What answers at CENTRAL_URL offers neither TLS 1.3 nor TLS 1.2 with authenticated encryption.',
  hint: 'Find out what answers at CENTRAL_URL: central offers both. Update a proxy in front of it, or its settings.',
};

/** By the codes of OpenSSL and Node. Others, such as a record that the link damaged, are failures of the network. */
const REASONS: Readonly<Record<string, Reason>> = {
  CERT_HAS_EXPIRED: EXPIRED,
  CERT_NOT_YET_VALID: NOT_YET,
  ERR_TLS_CERT_ALTNAME_INVALID: OTHER_NAME,
  ERR_SSL_WRONG_VERSION_NUMBER: NO_TLS,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: NO_TLS,
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: TOO_OLD,
  ERR_SSL_UNSUPPORTED_PROTOCOL: TOO_OLD,
  'ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE': TOO_OLD,
  ...Object.fromEntries(
    [
      'CERT_CHAIN_TOO_LONG',
      'CERT_REJECTED',
      'CERT_SIGNATURE_FAILURE',
      'CERT_UNTRUSTED',
      'DEPTH_ZERO_SELF_SIGNED_CERT',
      'INVALID_CA',
      'INVALID_PURPOSE',
      'PATH_LENGTH_EXCEEDED',
      'SELF_SIGNED_CERT_IN_CHAIN',
      'UNABLE_TO_GET_ISSUER_CERT',
      'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
      'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
    ].map((code) => [code, UNKNOWN]),
  ),
};

/** CENTRAL_UNTRUSTED where a handshake failed because of who answers there, or how; undefined for any other error. */
export function untrustedError(error: unknown): WaypostError | undefined {
  const { code = '' } = (error ?? {}) as { code?: string };
  const reason = Object.hasOwn(REASONS, code) ? REASONS[code] : undefined;
  return reason && new WaypostError('CENTRAL_UNTRUSTED', { detail: `${reason.detail} (${code})`, hint: reason.hint, cause: error });
}

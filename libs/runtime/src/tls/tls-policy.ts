import type { SecureContextOptions } from 'node:tls';

/**
 * The suites of TLS 1.3, and those of TLS 1.2 with a fresh key per connection and authenticated encryption (AEAD): GCM and ChaCha20-Poly1305.
 * CBC and static RSA are left out (RFC 9325).
 */
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
];

/** What both sides speak: TLS 1.3, or 1.2 with AEAD only. */
export const TLS_POLICY = { minVersion: 'TLSv1.2', ciphers: CIPHERS.join(':') } as const satisfies SecureContextOptions;

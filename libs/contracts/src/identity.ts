import { createHash } from 'node:crypto';
import { z } from 'zod';
import { ulidSchema } from './manifest.js';

/**
 * How a device shows who it is. It has an Ed25519 key pair. Central knows the public key by its thumbprint (RFC 7638), since the device enrolled with a
 * one-time token. With a JWT that this key signed, the device gets an access token, which its other requests carry.
 */

/** The only algorithm of all signatures (RFC 8037). */
export const SIGNATURE_ALGORITHM = 'EdDSA';

/** `typ` of the three kinds of JWT: none can be taken for another. */
export const JWT_TYPES = {
  /** From a device that enrolls: it has the private key. */
  enrollment: 'waypost-enrollment+jwt',
  /** From a device that replaces its key: the old one vouches for the new one. */
  rotation: 'waypost-rotation+jwt',
  /** From a device that wants an access token (RFC 7523). */
  assertion: 'client-authentication+jwt',
  /** From central (RFC 9068). */
  access: 'at+jwt',
} as const;

/** Audience of what devices sign for central, and issuer of what central signs. @param fleet ULID of this central's fleet */
export function fleetName(fleet: string): string {
  return `urn:waypost:fleet:${fleet}`;
}

/** How far a device's time may be from central's in what it signs. The device goes by central's clock, so its own may be wrong. */
export const MAX_SKEW_S = 60;

/** Longer ones are refused before they are parsed. */
export const MAX_JWT_CHARS = 2048;

const jwtSchema = z
  .string()
  .regex(/^[\w-]+\.[\w-]+\.[\w-]+$/, 'must be a signed JWT')
  .max(MAX_JWT_CHARS);

/** Base64url of SHA-256. */
export const thumbprintSchema = z.string().regex(/^[\w-]{43}$/);

/** RFC 7638, of an Ed25519 public key. @param x its 32 bytes in base64url, as in a JWK */
export function keyThumbprint(x: string): string {
  return createHash('sha256').update(`{"crv":"Ed25519","kty":"OKP","x":"${x}"}`).digest('base64url');
}

/** Secrets that central makes: `wpe_` stands before an enrollment token. 32 random bytes in base64url follow. */
export const ENROLLMENT_TOKEN = /^wpe_[\w-]{43}$/;

/** What programs may do with an API key: read the fleet's state, changes of tables, whole tables, metrics. */
export const RIGHTS = ['status', 'changes', 'export', 'metrics'] as const;
export type Right = (typeof RIGHTS)[number];

/** `wpk_`, the key's id, and 32 random bytes in base64url. A program shows it in the header X-API-Key. */
export const API_KEY = /^wpk_([0-9A-HJKMNP-TV-Z]{26})_[\w-]{43}$/;

/** What is stored and signed in place of a secret with 256 random bits, which need no slow hash. 64 hex digits. */
export function secretDigest(secret: string): string {
  return createHash('sha256').update(`waypost secret ${secret}`).digest('hex');
}

/** POST /api/devices/enroll, with a token of an operator, or with the key that the device has. */
export const enrollRequestSchema = z.object({
  /** One-time secret from `waypost device add`; or a JWT that the key in force signed. Claims: rotationClaimsSchema. */
  token: z.union([z.string().regex(ENROLLMENT_TOKEN), jwtSchema]),
  /** JWT with the public key in its header (`jwk`), signed by the private one. Claims: enrollmentClaimsSchema. */
  proof: jwtSchema,
});
export type EnrollRequest = z.infer<typeof enrollRequestSchema>;

export const enrollmentClaimsSchema = z.object({
  mac: z.string().min(1).max(64),
  /** secretDigest of the token: the proof serves no other enrollment. */
  token: z.string().length(64),
});

/** Beside `iss` and `sub`, the device's id, `aud` and `iat`. */
export const rotationClaimsSchema = z.object({
  /** Thumbprint of the new key. */
  jkt: thumbprintSchema,
});

export const enrollResponseSchema = z.object({
  deviceId: ulidSchema,
  /** ULID of central's fleet. */
  fleet: ulidSchema,
  mac: z.string(),
  name: z.string().nullable(),
  /** `pending`: an operator has to approve the key first. */
  state: z.enum(['active', 'pending']),
  /** The trust document that the device pins, unchecked (openTrust). Centrals of earlier versions leave it out. */
  trust: z.unknown().optional(),
});
export type EnrollResponse = z.infer<typeof enrollResponseSchema>;

/** A certificate request of an ECDSA P-256 key has some 500. */
const MAX_CSR_CHARS = 2048;

/** 64 hex digits. */
export function csrDigest(csr: string): string {
  return createHash('sha256').update(csr).digest('hex');
}

/** POST /api/auth/token: the client credentials grant with a signed assertion (RFC 6749, RFC 7523). */
export const tokenRequestSchema = z.object({
  grant_type: z.literal('client_credentials'),
  client_assertion_type: z.literal('urn:ietf:params:oauth:client-assertion-type:jwt-bearer'),
  client_assertion: jwtSchema,
  /** PKCS#10 in PEM, of an ECDSA P-256 key: the device wants a client certificate. The assertion has its hash. */
  csr: z.string().max(MAX_CSR_CHARS).optional(),
});
export type TokenRequest = z.infer<typeof tokenRequestSchema>;

/** A random text of central, which the device's next assertion repeats. */
const renewalSchema = z.string().max(64);

export const assertionClaimsSchema = z.object({
  jti: z.string().min(16).max(64),
  /** That of the last token the device got. Two machines with one identity have two, which central notices. */
  renewal: renewalSchema.optional(),
  /** csrDigest of the certificate request that comes along. */
  csr: z.string().length(64).optional(),
});

export const tokenResponseSchema = z.object({
  access_token: jwtSchema,
  token_type: z.literal('Bearer'),
  /** Seconds. */
  expires_in: z.int().positive(),
  renewal: renewalSchema,
  /** An operator wants the device to replace its key. */
  rotate: z.boolean().optional(),
  /** Central asks for client certificates on its connections. */
  wants_certificate: z.boolean().optional(),
  /** PEM, for the request that came along. */
  certificate: z.string().max(8192).optional(),
});
export type TokenResponse = z.infer<typeof tokenResponseSchema>;

/** Claims of an access token, beside those that RFC 9068 names. */
export const accessClaimsSchema = z.object({
  /** The device's id. */
  sub: ulidSchema,
  /** The key that it was given for (RFC 7800). */
  cnf: z.object({ jkt: thumbprintSchema }),
});

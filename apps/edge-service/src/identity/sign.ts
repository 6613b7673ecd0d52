import { createPublicKey, type KeyObject, randomBytes } from 'node:crypto';
import { fleetName, JWT_TYPES, keyThumbprint, SIGNATURE_ALGORITHM } from '@waypost/contracts';
import { type JWK, SignJWT } from 'jose';
import type { Identity } from './identity-files.js';

/** RFC 7638, base64url: how central names the key. */
export function thumbprintOf(privateKey: KeyObject): string {
  return keyThumbprint(publicJwk(privateKey).x as string);
}

/** Shows that the device has this key. @param token secretDigest of the enrollment token that it is sent with */
export async function signEnrollment(privateKey: KeyObject, claims: { mac: string; token: string }): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: SIGNATURE_ALGORITHM, typ: JWT_TYPES.enrollment, jwk: publicJwk(privateKey) })
    .sign(privateKey);
}

/** Asks for an access token (RFC 7523). @param csr csrDigest of the certificate request that is sent along @param now central's time, in seconds */
export async function signAssertion(
  { privateKey, deviceId, fleet }: Identity,
  claims: { renewal: string | undefined; csr: string | undefined },
  now: number,
): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: SIGNATURE_ALGORITHM, typ: JWT_TYPES.assertion, kid: thumbprintOf(privateKey) })
    .setIssuer(deviceId)
    .setSubject(deviceId)
    .setAudience(fleetName(fleet))
    .setJti(randomBytes(16).toString('base64url'))
    .setIssuedAt(now)
    .sign(privateKey);
}

/** Vouches for another key. @param successor its thumbprint @param now central's time, in seconds */
export async function signRotation({ privateKey, deviceId, fleet }: Identity, successor: string, now: number): Promise<string> {
  return new SignJWT({ jkt: successor })
    .setProtectedHeader({ alg: SIGNATURE_ALGORITHM, typ: JWT_TYPES.rotation, kid: thumbprintOf(privateKey) })
    .setIssuer(deviceId)
    .setSubject(deviceId)
    .setAudience(fleetName(fleet))
    .setIssuedAt(now)
    .sign(privateKey);
}

function publicJwk(privateKey: KeyObject): JWK {
  const { crv, kty, x } = createPublicKey(privateKey).export({ format: 'jwk' });
  return { crv, kty, x } as JWK;
}

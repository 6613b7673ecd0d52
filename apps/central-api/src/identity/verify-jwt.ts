import type { KeyObject } from 'node:crypto';
import { SIGNATURE_ALGORITHM, thumbprintSchema } from '@waypost/contracts';
import { decodeProtectedHeader, type JWTPayload, jwtVerify, type JWTVerifyOptions } from 'jose';
import type { z } from 'zod';

/**
 * Checks the signature, the type and the claims of a JWT. Only Ed25519 is accepted, whatever its header says.
 * @throws errors of jose, or of zod: they say what is wrong, and are for the log
 */
export async function verifyJwt<Claims extends object>(
  jwt: string,
  key: KeyObject,
  schema: z.ZodType<Claims>,
  options: JWTVerifyOptions & { typ: string },
): Promise<JWTPayload & Claims> {
  const { payload } = await jwtVerify(jwt, key, { ...options, algorithms: [SIGNATURE_ALGORITHM] });
  return { ...payload, ...schema.parse(payload) };
}

/** The key that a JWT's header names, unchecked. */
export function kidOf(jwt: string): string | undefined {
  try {
    return thumbprintSchema.safeParse(decodeProtectedHeader(jwt).kid).data;
  } catch {
    return undefined;
  }
}

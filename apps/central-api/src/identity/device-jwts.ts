import { Injectable } from '@nestjs/common';
import { fleetName, MAX_SKEW_S, WaypostError } from '@waypost/contracts';
import { errors, type JWTPayload } from 'jose';
import type { z } from 'zod';
import { DeviceDirectory, type DeviceKey } from './device-directory.js';
import { publicKeyOf } from './ed25519.js';
import { TokenKeys } from './token-keys.js';
import { kidOf, verifyJwt } from './verify-jwt.js';

/** Checks what devices sign with a key that is in force. */
@Injectable()
export class DeviceJwts {
  constructor(
    private readonly directory: DeviceDirectory,
    private readonly keys: TokenKeys,
  ) {}

  /**
   * @param typ which kind of JWT is wanted: no other is accepted
   * @throws WaypostError ASSERTION_INVALID, whose cause says why; CLOCK_SKEWED
   */
  async verify<Claims extends object>(
    jwt: string,
    typ: string,
    schema: z.ZodType<Claims>,
  ): Promise<{ key: DeviceKey; claims: JWTPayload & Claims }> {
    const kid = kidOf(jwt);
    const key = kid === undefined ? undefined : await this.directory.findKey(kid);
    if (!key) {
      const cause = new Error('it names no key, or one that is unknown or retired, or whose device was revoked');
      throw new WaypostError('ASSERTION_INVALID', { cause });
    }
    const audience = fleetName(await this.keys.fleet());
    try {
      const claims = await verifyJwt(jwt, publicKeyOf(key.publicKey), schema, {
        typ,
        issuer: key.deviceId,
        subject: key.deviceId,
        audience,
        maxTokenAge: MAX_SKEW_S,
        clockTolerance: MAX_SKEW_S,
      });
      return { key, claims };
    } catch (cause) {
      throw new WaypostError(isAboutTime(cause) ? 'CLOCK_SKEWED' : 'ASSERTION_INVALID', { cause });
    }
  }
}

/** Whether `iat` is too far from central's clock. */
function isAboutTime(error: unknown): boolean {
  const isFuture = error instanceof errors.JWTClaimValidationFailed && error.claim === 'iat' && error.reason === 'check_failed';
  return isFuture || error instanceof errors.JWTExpired;
}

import { randomBytes } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import {
  accessClaimsSchema,
  assertionClaimsSchema,
  fleetName,
  JWT_TYPES,
  MAX_JWT_CHARS,
  MAX_SKEW_S,
  SIGNATURE_ALGORITHM,
  thumbprintSchema,
  type TokenResponse,
  WaypostError,
} from '@waypost/contracts';
import { faultPoint, LOGGER, queryPrepared, withClient } from '@waypost/runtime';
import { decodeProtectedHeader, errors, SignJWT } from 'jose';
import { LRUCache } from 'lru-cache';
import type pg from 'pg';
import type { Logger } from 'pino';
import { Batcher } from '../database/batcher.js';
import { IDENTITY_POOL } from '../database/pools.js';
import { DeviceDirectory, type DeviceKey } from './device-directory.js';
import { publicKeyOf } from './ed25519.js';
import { IDENTITY_OPTIONS, type IdentityOptions } from './identity-options.js';
import { RENEW } from './identity.sql.js';
import { TokenKeys } from './token-keys.js';
import { verifyJwt } from './verify-jwt.js';

interface Renewal {
  key: DeviceKey;
  assertion: string;
  given: string | undefined;
  renewal: string;
}

/** A token whose signature was checked. */
interface CheckedToken {
  deviceId: string;
  thumbprint: string;
  expiresAtMs: number;
}

const MAX_BATCH = 500;
/** Tokens whose signature is not checked at each request: a device has one. */
const MAX_CHECKED = 20_000;

/** Gives devices access tokens for what they sign, and tells whose token a request carries. */
@Injectable()
export class AccessTokens {
  private readonly checked = new LRUCache<string, CheckedToken>({ max: MAX_CHECKED });
  private readonly renewals = new Batcher<Renewal, boolean>((renewals) => this.renew(renewals), MAX_BATCH);

  constructor(
    private readonly keys: TokenKeys,
    private readonly directory: DeviceDirectory,
    @Inject(IDENTITY_POOL) private readonly pool: pg.Pool,
    @Inject(IDENTITY_OPTIONS) private readonly options: IdentityOptions,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * @param assertion signed by a device's key, which its header names
   * @throws WaypostError ASSERTION_INVALID, whose cause says why; CLOCK_SKEWED; DEVICE_PENDING
   */
  async issue(assertion: string): Promise<TokenResponse & { mac: string }> {
    const { key, jti, given } = await this.checkAssertion(assertion);
    if (!key.isApproved)
      throw new WaypostError('DEVICE_PENDING', { detail: `The key ${key.thumbprint} of ${key.mac} waits for approval.` });
    const renewal = randomBytes(16).toString('base64url');
    const isNew = await this.renewals.do({ key, assertion: `${key.thumbprint} ${jti}`, given, renewal });
    if (!isNew) throw refused('ASSERTION_INVALID', 'it was used already');
    await faultPoint('central.token-renewed');
    const expiresInS = Math.floor(this.options.tokenTtlMs / 1000);
    return { access_token: await this.sign(key, expiresInS), token_type: 'Bearer', expires_in: expiresInS, renewal, mac: key.mac };
  }

  /**
   * The device whose token this is: it is enrolled and not revoked at this moment.
   * @throws WaypostError TOKEN_INVALID, whose cause says why
   */
  async authenticate(token: string): Promise<DeviceKey> {
    const checked = this.checked.get(token) ?? (await this.check(token));
    if (checked.expiresAtMs <= Date.now()) {
      this.checked.delete(token);
      throw refused('TOKEN_INVALID', 'it has expired');
    }
    const key = await this.directory.findKey(checked.thumbprint);
    if (!key?.isApproved || key.deviceId !== checked.deviceId)
      throw refused('TOKEN_INVALID', 'its device was revoked, or uses another key by now');
    return key;
  }

  private async checkAssertion(assertion: string): Promise<{ key: DeviceKey; jti: string; given: string | undefined }> {
    const kid = kidOf(assertion);
    const key = kid === undefined ? undefined : await this.directory.findKey(kid);
    if (!key) throw refused('ASSERTION_INVALID', 'it names no key, or one that is unknown or retired, or whose device was revoked');
    const audience = fleetName(await this.keys.fleet());
    try {
      const claims = await verifyJwt(assertion, publicKeyOf(key.publicKey), assertionClaimsSchema, {
        typ: JWT_TYPES.assertion,
        issuer: key.deviceId,
        subject: key.deviceId,
        audience,
        maxTokenAge: MAX_SKEW_S,
        clockTolerance: MAX_SKEW_S,
      });
      return { key, jti: claims.jti, given: claims.renewal };
    } catch (cause) {
      throw new WaypostError(isAboutTime(cause) ? 'CLOCK_SKEWED' : 'ASSERTION_INVALID', { cause });
    }
  }

  private async check(token: string): Promise<CheckedToken> {
    const kid = token.length > MAX_JWT_CHARS ? undefined : kidOf(token);
    const key = kid === undefined ? undefined : await this.keys.find(kid);
    if (!key) throw refused('TOKEN_INVALID', 'it is too long, is no JWT, or names a key that central does not have');
    const fleet = fleetName(await this.keys.fleet());
    try {
      const claims = await verifyJwt(token, key, accessClaimsSchema, {
        typ: JWT_TYPES.access,
        issuer: fleet,
        audience: fleet,
        requiredClaims: ['exp'],
      });
      const checked = { deviceId: claims.sub, thumbprint: claims.cnf.jkt, expiresAtMs: (claims.exp as number) * 1000 };
      this.checked.set(token, checked);
      return checked;
    } catch (cause) {
      throw new WaypostError('TOKEN_INVALID', { cause });
    }
  }

  private async sign({ deviceId, thumbprint }: DeviceKey, expiresInS: number): Promise<string> {
    const { kid, privateKey } = await this.keys.signing();
    const fleet = fleetName(await this.keys.fleet());
    const nowS = Math.floor(Date.now() / 1000);
    return new SignJWT({ cnf: { jkt: thumbprint } })
      .setProtectedHeader({ alg: SIGNATURE_ALGORITHM, typ: JWT_TYPES.access, kid })
      .setIssuer(fleet)
      .setAudience(fleet)
      .setSubject(deviceId)
      .setJti(randomBytes(16).toString('base64url'))
      .setIssuedAt(nowS)
      .setExpirationTime(nowS + expiresInS)
      .sign(privateKey);
  }

  /** @returns for each whether its assertion counts */
  private async renew(renewals: readonly Renewal[]): Promise<boolean[]> {
    const fresh = new Set<string>();
    // A statement updates each key once.
    for (let rest = renewals; rest.length > 0;) {
      const first = new Map(rest.toReversed().map((renewal) => [renewal.key.thumbprint, renewal]));
      for (const assertion of await this.renewOnce([...first.values()])) fresh.add(assertion);
      rest = rest.filter((renewal) => first.get(renewal.key.thumbprint) !== renewal);
    }
    return renewals.map((renewal) => fresh.has(renewal.assertion));
  }

  private async renewOnce(renewals: readonly Renewal[]): Promise<string[]> {
    const rows = await withClient(this.pool, (client) =>
      queryPrepared<{ assertion: string; isCloned: boolean }>(client, 'renew', RENEW, [
        renewals.map(({ key }) => key.thumbprint),
        renewals.map(({ assertion }) => assertion),
        renewals.map(({ given }) => given ?? null),
        renewals.map(({ renewal }) => renewal),
        3 * MAX_SKEW_S,
      ]),
    );
    for (const { key, assertion } of renewals) {
      if (!rows.some((row) => row.isCloned && row.assertion === assertion)) continue;
      this.logger.error({ mac: key.mac, deviceId: key.deviceId, key: key.thumbprint }, 'two machines use the identity of one device');
    }
    return rows.map(({ assertion }) => assertion);
  }
}

/** The key that a JWT's header names, unchecked. */
function kidOf(jwt: string): string | undefined {
  try {
    return thumbprintSchema.safeParse(decodeProtectedHeader(jwt).kid).data;
  } catch {
    return undefined;
  }
}

/** @param reason for the log */
function refused(code: 'ASSERTION_INVALID' | 'TOKEN_INVALID', reason: string): WaypostError {
  return new WaypostError(code, { cause: new Error(reason) });
}

/** Whether `iat` is too far from central's clock. */
function isAboutTime(error: unknown): boolean {
  return (
    error instanceof errors.JWTExpired ||
    (error instanceof errors.JWTClaimValidationFailed && error.claim === 'iat' && error.reason === 'check_failed')
  );
}

import { randomBytes } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import {
  accessClaimsSchema,
  assertionClaimsSchema,
  csrDigest,
  fleetName,
  JWT_TYPES,
  MAX_JWT_CHARS,
  MAX_SKEW_S,
  SIGNATURE_ALGORITHM,
  type TokenRequest,
  type TokenResponse,
  WaypostError,
} from '@waypost/contracts';
import { faultPoint, LOGGER, queryPrepared, withClient } from '@waypost/runtime';
import { SignJWT } from 'jose';
import { LRUCache } from 'lru-cache';
import type pg from 'pg';
import type { Logger } from 'pino';
import { Batcher } from '../database/batcher.js';
import { IDENTITY_POOL } from '../database/pools.js';
import { DeviceAuthorities } from './device-authorities.js';
import { DeviceDirectory, type DeviceKey } from './device-directory.js';
import { DeviceJwts } from './device-jwts.js';
import { IDENTITY_OPTIONS, type IdentityOptions } from './identity-options.js';
import { RENEW } from './identity.sql.js';
import { TokenKeys } from './token-keys.js';
import { kidOf, verifyJwt } from './verify-jwt.js';

interface Renewal {
  key: DeviceKey;
  assertion: string;
  given: string | undefined;
  renewal: string;
}

/** A row of RENEW. */
interface Renewed {
  assertion: string;
  isCloned: boolean;
  mustRotate: boolean;
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
  private readonly renewals = new Batcher<Renewal, Renewed | undefined>((renewals) => this.renew(renewals), MAX_BATCH);

  constructor(
    private readonly keys: TokenKeys,
    private readonly directory: DeviceDirectory,
    private readonly jwts: DeviceJwts,
    private readonly authorities: DeviceAuthorities,
    @Inject(IDENTITY_POOL) private readonly pool: pg.Pool,
    @Inject(IDENTITY_OPTIONS) private readonly options: IdentityOptions,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * For an assertion that a device's key signed, which its header names. A certificate request that it has the hash of gets a client certificate.
   * @throws WaypostError ASSERTION_INVALID, whose cause says why; CLOCK_SKEWED; DEVICE_PENDING; REQUEST_INVALID
   */
  async issue({ client_assertion: assertion, csr }: TokenRequest): Promise<TokenResponse & { mac: string }> {
    const { key, claims } = await this.jwts.verify(assertion, JWT_TYPES.assertion, assertionClaimsSchema);
    if (!key.isApproved)
      throw new WaypostError('DEVICE_PENDING', { detail: `The key ${key.thumbprint} of ${key.mac} waits for approval.` });
    if (claims.csr !== (csr && csrDigest(csr)))
      throw new WaypostError('ASSERTION_INVALID', { cause: new Error('it has the hash of another csr') });
    const renewal = randomBytes(16).toString('base64url');
    const renewed = await this.renewals.do({ key, assertion: `${key.thumbprint} ${claims.jti}`, given: claims.renewal, renewal });
    if (!renewed) throw new WaypostError('ASSERTION_INVALID', { cause: new Error('it was used already') });
    await faultPoint('central.token-renewed');
    const certificate = csr === undefined || !this.wantsCertificates ? undefined : await this.authorities.issue(csr, key);
    const expiresInS = Math.floor(this.options.tokenTtlMs / 1000);
    return {
      access_token: await this.sign(key, expiresInS),
      token_type: 'Bearer',
      expires_in: expiresInS,
      renewal,
      rotate: renewed.mustRotate,
      wants_certificate: this.wantsCertificates,
      certificate,
      mac: key.mac,
    };
  }

  /**
   * The device whose token this is: it is enrolled and not revoked at this moment.
   * @throws WaypostError TOKEN_INVALID, whose cause says why
   */
  async authenticate(token: string): Promise<DeviceKey> {
    const checked = this.checked.get(token) ?? (await this.check(token));
    if (checked.expiresAtMs <= Date.now()) {
      this.checked.delete(token);
      throw refused('it has expired');
    }
    const key = await this.directory.findKey(checked.thumbprint);
    if (!key?.isApproved || key.deviceId !== checked.deviceId) throw refused('its device was revoked, or uses another key by now');
    return key;
  }

  private get wantsCertificates(): boolean {
    return this.options.clientCertificates !== 'off';
  }

  private async check(token: string): Promise<CheckedToken> {
    const kid = token.length > MAX_JWT_CHARS ? undefined : kidOf(token);
    const key = kid === undefined ? undefined : await this.keys.find(kid);
    if (!key) throw refused('it is too long, is no JWT, or names a key that central does not have');
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

  /** @returns undefined for each whose assertion does not count */
  private async renew(renewals: readonly Renewal[]): Promise<(Renewed | undefined)[]> {
    const renewed = new Map<string, Renewed>();
    // A statement updates each key once.
    for (let rest = renewals; rest.length > 0;) {
      const first = new Map(rest.toReversed().map((renewal) => [renewal.key.thumbprint, renewal]));
      for (const row of await this.renewOnce([...first.values()])) renewed.set(row.assertion, row);
      rest = rest.filter((renewal) => first.get(renewal.key.thumbprint) !== renewal);
    }
    return renewals.map(({ assertion }) => renewed.get(assertion));
  }

  private async renewOnce(renewals: readonly Renewal[]): Promise<Renewed[]> {
    const rows = await withClient(this.pool, (client) =>
      queryPrepared<Renewed>(client, 'renew', RENEW, [
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
    return rows;
  }
}

/** @param reason for the log */
function refused(reason: string): WaypostError {
  return new WaypostError('TOKEN_INVALID', { cause: new Error(reason) });
}

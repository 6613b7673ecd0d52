import { X509Certificate } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import {
  csrDigest,
  type EnrollResponse,
  enrollResponseSchema,
  openTrust,
  secretDigest,
  type TokenResponse,
  tokenResponseSchema,
  WaypostError,
} from '@waypost/contracts';
import { faultPoint, LOGGER } from '@waypost/runtime';
import type { Logger } from 'pino';
import type { z } from 'zod';
import { isFresh } from '../identity/client-certificate.js';
import { IDENTITY_OPTIONS, type IdentityOptions } from '../identity/identity-options.js';
import { type Identity, IdentityFiles } from '../identity/identity-files.js';
import { signAssertion, signEnrollment, signRotation, thumbprintOf } from '../identity/sign.js';
import { dateOf, jsonBody, MAX_PROBLEM_BYTES, readJson, readText } from './bodies.js';
import { refusalCode, refusalError } from './central-errors.js';
import { CentralHttp } from './central-http.js';

interface AccessToken {
  text: string;
  /** On the monotonic clock. */
  renewAtMs: number;
}

/** Part of its life after which a token is renewed. */
const RENEW_AFTER = 0.8;

/** The device's access token: it enrolls where it has not yet, and renews the token before it ends. */
@Injectable()
export class CentralAccess {
  private token: AccessToken | undefined;
  private renewing: Promise<AccessToken | undefined> | undefined;
  private identity: Identity | undefined;
  /** Central did not accept ENROLLMENT_TOKEN, and there is an identity: it is not sent again. */
  private isTokenRefused = false;
  /** Central's clock minus that of the monotonic clock, once central has refused this device's. */
  private centralOffsetMs: number | undefined;

  constructor(
    private readonly http: CentralHttp,
    private readonly files: IdentityFiles,
    @Inject(IDENTITY_OPTIONS) private readonly options: IdentityOptions,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * @returns the value of the header Authorization; undefined for a device without identity, which has no ENROLLMENT_TOKEN either
   * @throws WaypostError as central refuses to enroll it or to give a token; IDENTITY_UNREADABLE; CENTRAL_UNREACHABLE
   */
  async authorization(signal: AbortSignal): Promise<string | undefined> {
    const token = this.token && performance.now() < this.token.renewAtMs ? this.token : await this.renew(signal);
    return token && `Bearer ${token.text}`;
  }

  /** Central did not accept this one. */
  forget(authorization: string): void {
    if (this.token && authorization === `Bearer ${this.token.text}`) this.token = undefined;
  }

  /** Requests that need a token at one time share it. */
  private renew(signal: AbortSignal): Promise<AccessToken | undefined> {
    this.renewing ??= this.obtain(signal).finally(() => (this.renewing = undefined));
    return this.renewing;
  }

  private async obtain(signal: AbortSignal): Promise<AccessToken | undefined> {
    const identity = await this.findIdentity(signal);
    if (!identity) return undefined;
    let answer = await this.exchange(identity, signal);
    if (answer.rotate && this.options.mayReplaceKey) {
      const successor = await this.replaceKey(identity, signal);
      if (successor) answer = await this.exchange(successor, signal);
    }
    if (answer.wants_certificate) answer = (await this.certify(signal)) ?? answer;
    const { access_token: text, expires_in: expiresInS } = answer;
    this.token = { text, renewAtMs: performance.now() + expiresInS * 1000 * RENEW_AFTER };
    return this.token;
  }

  /** The identity that is stored. One that was enrolled with another token than ENROLLMENT_TOKEN is replaced: an operator wants the device to enroll again. */
  private async findIdentity(signal: AbortSignal): Promise<Identity | undefined> {
    this.identity ??= await this.files.identity();
    const { enrollmentToken } = this.options;
    if (enrollmentToken === undefined || this.isTokenRefused) return this.identity;
    const digest = secretDigest(enrollmentToken);
    if (this.identity?.token === digest) return this.identity;
    try {
      return await this.enroll(enrollmentToken, digest, signal);
    } catch (error) {
      if (!this.identity || !(error instanceof WaypostError)) throw error;
      this.isTokenRefused = refusalCode(error) === 'ENROLLMENT_REFUSED';
      this.logger.warn({ err: error }, 'the device could not enroll with ENROLLMENT_TOKEN, and uses the identity that it has');
      return this.identity;
    }
  }

  private async enroll(token: string, digest: string, signal: AbortSignal): Promise<Identity> {
    const begun = await this.files.enrolling();
    const { privateKey } = begun?.token === digest ? begun : await this.files.makeKey(digest);
    const key = thumbprintOf(privateKey);
    await faultPoint('edge.key-made');
    const proof = await signEnrollment(privateKey, { mac: this.options.deviceMac, token: digest });
    const answer = await this.post('/api/devices/enroll', { token, proof }, enrollResponseSchema, signal);
    await faultPoint('edge.enrollment-answered');
    if (answer.state === 'pending') throw this.waitForApproval(answer, key);
    const identity = { privateKey, token: digest, deviceId: answer.deviceId, fleet: answer.fleet };
    await this.pinTrust(answer);
    await this.files.accept(identity);
    this.identity = identity;
    await faultPoint('edge.identity-stored');
    this.logger.info({ deviceId: identity.deviceId, key }, 'the device is enrolled');
    return identity;
  }

  /** Before the identity: a device that has enrolled believes no manifest without it. It takes the place of one of an earlier enrollment. */
  private async pinTrust({ trust, fleet }: EnrollResponse): Promise<void> {
    if (trust === undefined) return;
    const signed = openTrust(trust);
    if (signed.document.fleet !== fleet)
      throw new WaypostError('MANIFEST_UNTRUSTED', {
        detail: `Central enrolled this device in the fleet ${fleet}, with keys of another one.`,
      });
    await this.files.storeTrust(signed);
  }

  /** An operator wants another key. The one in force goes on where that fails. */
  private async replaceKey(identity: Identity, signal: AbortSignal): Promise<Identity | undefined> {
    const predecessor = thumbprintOf(identity.privateKey);
    try {
      const begun = await this.files.enrolling();
      const { privateKey } = begun?.token === predecessor ? begun : await this.files.makeKey(predecessor);
      const token = await signRotation(identity, thumbprintOf(privateKey), this.centralSeconds());
      const proof = await signEnrollment(privateKey, { mac: this.options.deviceMac, token: secretDigest(token) });
      await this.post('/api/devices/enroll', { token, proof }, enrollResponseSchema, signal);
      await faultPoint('edge.key-replaced');
      const successor = { ...identity, privateKey };
      await this.files.accept(successor);
      this.identity = successor;
      this.logger.info({ deviceId: identity.deviceId, key: thumbprintOf(privateKey) }, 'the device replaced its key');
      return successor;
    } catch (err) {
      this.logger.warn({ err }, 'the device could not replace its key, and tries again with its next access token');
      return undefined;
    }
  }

  /**
   * Has the connections to central show a client certificate of this device: the one that is stored, or a new one.
   * @returns the answer that a new one came with. Undefined also where there is none: central then says whether it goes without
   */
  private async certify(signal: AbortSignal): Promise<TokenResponse | undefined> {
    const identity = this.identity as Identity;
    const key = thumbprintOf(identity.privateKey);
    try {
      // One that cannot be read is replaced.
      const stored = await this.files.certificate().catch(() => undefined);
      if (stored?.key === key && isFresh(stored.certificate, this.centralSeconds())) {
        this.http.show(stored);
        return undefined;
      }
      // Its library takes a tenth of a start, and most devices need none.
      const { newCertificateRequest } = await import('../identity/certificate-request.js');
      const { privateKey, csr } = await newCertificateRequest();
      const answer = await this.exchange(identity, signal, csr);
      const { certificate } = answer;
      if (certificate === undefined) return answer;
      await this.files.storeCertificate({ key, privateKey, certificate });
      this.http.show({ privateKey, certificate });
      this.logger.info({ expiresAt: new X509Certificate(certificate).validToDate }, 'the device has a new client certificate');
      return answer;
    } catch (err) {
      this.logger.warn({ err }, 'the device could not get a client certificate, and tries again with its next access token');
      return undefined;
    }
  }

  private waitForApproval({ deviceId }: EnrollResponse, key: string): WaypostError {
    return new WaypostError('DEVICE_PENDING', {
      detail: `The device ${deviceId} with the key ${key} waits until an operator approves it.`,
    });
  }

  /** One more time where central says that this device's clock is wrong: by central's. */
  private async exchange(identity: Identity, signal: AbortSignal, csr?: string): Promise<TokenResponse> {
    const key = thumbprintOf(identity.privateKey);
    const stored = await this.files.renewal();
    const renewal = stored?.key === key ? stored.renewal : undefined;
    let answer: TokenResponse;
    try {
      answer = await this.askForToken(identity, { renewal, csr }, signal);
    } catch (error) {
      if (refusalCode(error) !== 'CLOCK_SKEWED') throw error;
      answer = await this.askForToken(identity, { renewal, csr }, signal);
    }
    await faultPoint('edge.token-received');
    // Without it central takes the next renewal for one whose answer was lost.
    await this.files.storeRenewal({ key, renewal: answer.renewal }).catch((err: unknown) => {
      this.logger.warn({ err }, 'the renewal of the access token could not be stored');
    });
    return answer;
  }

  private async askForToken(
    identity: Identity,
    { renewal, csr }: { renewal: string | undefined; csr: string | undefined },
    signal: AbortSignal,
  ): Promise<TokenResponse> {
    const claims = { renewal, csr: csr && csrDigest(csr) };
    const message = {
      grant_type: 'client_credentials',
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: await signAssertion(identity, claims, this.centralSeconds()),
      csr,
    };
    return this.post('/api/auth/token', message, tokenResponseSchema, signal);
  }

  /** Central's time as far as the device knows it. */
  private centralSeconds(): number {
    return Math.floor((this.centralOffsetMs === undefined ? Date.now() : performance.now() + this.centralOffsetMs) / 1000);
  }

  /** @throws WaypostError what central refuses with */
  private async post<T>(path: string, message: object, schema: z.ZodType<T>, signal: AbortSignal): Promise<T> {
    const answer = await this.http.send({ method: 'POST', path, ...jsonBody(message) }, signal);
    if (answer.statusCode !== 200) {
      const error = refusalError({ status: answer.statusCode, body: await readText(answer.body, MAX_PROBLEM_BYTES) });
      if (refusalCode(error) === 'CLOCK_SKEWED') this.noteTime(dateOf(answer.headers));
      throw error;
    }
    const parsed = schema.safeParse(await readJson(answer));
    if (!parsed.success)
      throw new WaypostError('CENTRAL_REFUSED', { detail: `Central answered ${path} with something else than expected.` });
    return parsed.data;
  }

  private noteTime(centralTime: Date | undefined): void {
    if (!centralTime) return;
    this.centralOffsetMs = centralTime.getTime() - performance.now();
    const behindS = Math.round((centralTime.getTime() - Date.now()) / 1000);
    this.logger.warn({ behindS }, 'the clock of this device differs from central’s: central’s counts');
  }
}

import { generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { type EnrollResponse, fleetName, JWT_TYPES, type Problem, secretDigest, type TokenResponse } from '@waypost/contracts';
import { type JWTHeaderParameters, type JWTPayload, SignJWT } from 'jose';
import { rawPublicKey, thumbprintOf } from '../src/identity/ed25519.js';
import type { Answer, Central } from './central.js';

/** A device that enrolls and asks for tokens, written from docs/sync-protocol.md. What it sends can be altered. */
export class DeviceClient {
  readonly thumbprint: string;
  enrolled: EnrollResponse | undefined;

  constructor(
    private readonly central: Central,
    readonly mac: string,
    readonly privateKey: KeyObject = generateKeyPairSync('ed25519').privateKey,
  ) {
    this.thumbprint = thumbprintOf(rawPublicKey(privateKey));
  }

  async enroll(token: string, more: JWTPayload = {}, header: Partial<JWTHeaderParameters> = {}): Promise<Answer<EnrollResponse & Problem>> {
    const x = rawPublicKey(this.privateKey).toString('base64url');
    const proof = await this.sign(
      { mac: this.mac, token: secretDigest(token), ...more },
      { typ: JWT_TYPES.enrollment, jwk: { kty: 'OKP', crv: 'Ed25519', x }, ...header },
    );
    const answer = await this.central.post<EnrollResponse & Problem>('/api/devices/enroll', { token, proof });
    if (answer.status === 200) this.enrolled = answer.body;
    return answer;
  }

  /** Has `successor` take this device's place. */
  async vouchFor(
    successor: DeviceClient,
    more: JWTPayload = {},
    header: Partial<JWTHeaderParameters> = {},
  ): Promise<Answer<EnrollResponse & Problem>> {
    const { jti: _, ...claims } = this.claims();
    const rotation = await this.sign(
      { ...claims, jkt: successor.thumbprint, ...more },
      { typ: JWT_TYPES.rotation, kid: this.thumbprint, ...header },
    );
    return successor.enroll(rotation);
  }

  /** Claims of an assertion that central accepts now. */
  claims(): JWTPayload {
    const { deviceId, fleet } = this.enrolled as EnrollResponse;
    return { iss: deviceId, sub: deviceId, aud: fleetName(fleet), jti: randomUUID(), iat: Math.floor(Date.now() / 1000) };
  }

  async assertion(more: JWTPayload = {}, header: Partial<JWTHeaderParameters> = {}): Promise<string> {
    return this.sign({ ...this.claims(), ...more }, { typ: JWT_TYPES.assertion, kid: this.thumbprint, ...header });
  }

  async askForToken(assertion: Promise<string> | string = this.assertion(), more: object = {}): Promise<Answer<TokenResponse & Problem>> {
    return this.central.post<TokenResponse & Problem>('/api/auth/token', {
      grant_type: 'client_credentials',
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: await assertion,
      ...more,
    });
  }

  /** The header of a request of this device. */
  async authorization(): Promise<{ authorization: string }> {
    const { status, body } = await this.askForToken();
    if (status !== 200) throw new Error(`no token: ${JSON.stringify(body)}`);
    return { authorization: `Bearer ${body.access_token}` };
  }

  private sign(claims: JWTPayload, header: Partial<JWTHeaderParameters>): Promise<string> {
    return new SignJWT(claims).setProtectedHeader({ alg: 'EdDSA', ...header }).sign(this.privateKey);
  }
}

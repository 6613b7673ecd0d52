import { generateKeyPairSync, type KeyObject, randomBytes, randomUUID } from 'node:crypto';
import {
  type Manifest,
  enrollResponseSchema,
  fleetName,
  JWT_TYPES,
  keyThumbprint,
  secretDigest,
  SIGNATURE_ALGORITHM,
  tokenResponseSchema,
} from '@waypost/contracts';
import { type JWK, SignJWT } from 'jose';
import type { Pool } from 'undici';
import { withClient } from './servers.js';

/** A device of a bench, with a key of its own. */
export interface EnrolledDevice {
  mac: string;
  deviceId: string;
  fleet: string;
  kid: string;
  privateKey: KeyObject;
  /** What came with its last access token. */
  renewal: string | undefined;
}

/** A token with which so many devices enroll, without approval. */
export async function invite(databaseUrl: string, uses: number): Promise<string> {
  const token = `wpe_${randomBytes(32).toString('base64url')}`;
  const insert = `INSERT INTO waypost.enrollment_tokens (digest, uses_left, needs_approval, created_by, expires_at) VALUES ($1, $2, false, 'bench', now() + interval '1 day')`;
  await withClient(databaseUrl, (client) => client.query(insert, [secretDigest(token), uses]));
  return token;
}

/** Enrolls devices with these MACs. */
export async function enroll(pool: Pool, token: string, macs: readonly string[]): Promise<EnrolledDevice[]> {
  const devices: EnrolledDevice[] = [];
  for (const mac of macs) devices.push(await enrollOne(pool, token, mac));
  return devices;
}

async function enrollOne(pool: Pool, token: string, mac: string): Promise<EnrolledDevice> {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const { kty, crv, x } = publicKey.export({ format: 'jwk' });
  const proof = await new SignJWT({ mac, token: secretDigest(token) })
    .setProtectedHeader({ alg: SIGNATURE_ALGORITHM, typ: JWT_TYPES.enrollment, jwk: { kty, crv, x } as JWK })
    .sign(privateKey);
  const { deviceId, fleet } = enrollResponseSchema.parse(await send(pool, '/api/devices/enroll', JSON.stringify({ token, proof })));
  return { mac, deviceId, fleet, kid: keyThumbprint(x as string), privateKey, renewal: undefined };
}

/** The body of a request for an access token, which counts once and for a minute. */
export async function tokenRequest({ deviceId, fleet, kid, privateKey, renewal }: EnrolledDevice): Promise<string> {
  const assertion = await new SignJWT(renewal === undefined ? {} : { renewal })
    .setProtectedHeader({ alg: SIGNATURE_ALGORITHM, typ: JWT_TYPES.assertion, kid })
    .setIssuer(deviceId)
    .setSubject(deviceId)
    .setAudience(fleetName(fleet))
    .setJti(randomUUID())
    .setIssuedAt()
    .sign(privateKey);
  return JSON.stringify({
    grant_type: 'client_credentials',
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: assertion,
  });
}

/** Sends what `tokenRequest` gave. @returns the value of the header Authorization */
export async function getToken(pool: Pool, device: EnrolledDevice, body: string): Promise<string> {
  const { access_token: token, renewal } = tokenResponseSchema.parse(await send(pool, '/api/auth/token', body));
  device.renewal = renewal;
  return `Bearer ${token}`;
}

/** What the device should hold. @param authorization undefined for one that names its MAC alone */
export async function requestManifest(pool: Pool, mac: string, authorization?: string): Promise<Manifest> {
  const headers = { 'content-type': 'application/json', ...(authorization === undefined ? {} : { authorization }) };
  const answer = await pool.request({ method: 'POST', path: '/api/device-sync/request', headers, body: JSON.stringify({ mac }) });
  const text = await answer.body.text();
  if (answer.statusCode !== 200) throw new Error(`${mac} got ${answer.statusCode}: ${text}`);
  return (JSON.parse(text) as { manifest: Manifest }).manifest;
}

/** Gets each device its manifest. @returns the bodies with which they poll from then on */
export async function pollBodies(pool: Pool, macs: readonly string[], authorizations?: readonly string[]): Promise<string[]> {
  const bodies: string[] = [];
  for (const [at, mac] of macs.entries()) {
    const { epoch, sequence, manifestId } = await requestManifest(pool, mac, authorizations?.[at]);
    bodies.push(JSON.stringify({ mac, have: { epoch, sequence, manifestId } }));
  }
  return bodies;
}

export async function getTokens(pool: Pool, devices: readonly EnrolledDevice[]): Promise<string[]> {
  return Promise.all(devices.map(async (device) => getToken(pool, device, await tokenRequest(device))));
}

async function send(pool: Pool, path: string, body: string): Promise<unknown> {
  const answer = await pool.request({ method: 'POST', path, headers: { 'content-type': 'application/json' }, body });
  const text = await answer.body.text();
  if (answer.statusCode !== 200) throw new Error(`${path} was answered ${answer.statusCode}: ${text}`);
  return JSON.parse(text);
}

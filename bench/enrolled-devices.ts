import { generateKeyPairSync, type KeyObject, randomBytes, randomUUID } from 'node:crypto';
import {
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

async function send(pool: Pool, path: string, body: string): Promise<unknown> {
  const answer = await pool.request({ method: 'POST', path, headers: { 'content-type': 'application/json' }, body });
  const text = await answer.body.text();
  if (answer.statusCode !== 200) throw new Error(`${path} was answered ${answer.statusCode}: ${text}`);
  return JSON.parse(text);
}

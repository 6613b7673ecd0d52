import { Injectable } from '@nestjs/common';
import {
  ENROLLMENT_TOKEN,
  enrollmentClaimsSchema,
  type EnrollRequest,
  type EnrollResponse,
  JWT_TYPES,
  normalizeMac,
  rotationClaimsSchema,
  secretDigest,
  WaypostError,
} from '@waypost/contracts';
import { faultPoint, newId } from '@waypost/runtime';
import { decodeProtectedHeader } from 'jose';
import { DataSource, type EntityManager } from 'typeorm';
import type { DeviceKey } from './device-directory.js';
import { DeviceJwts } from './device-jwts.js';
import { PUBLIC_KEY_BYTES, publicKeyOf, thumbprintOf } from './ed25519.js';
import { ADD_DEVICE, ADD_KEY, ADD_SUCCESSOR, ADMIT_DEVICE, FIND_ENROLLED_KEY, LOCK_DEVICES, LOCK_TOKEN } from './identity.sql.js';
import { TokenKeys } from './token-keys.js';
import { verifyJwt } from './verify-jwt.js';

interface Token {
  id: string;
  deviceId: string | null;
  usesLeft: number;
  needsApproval: boolean;
  isValid: boolean;
}

interface Device {
  id: string;
  mac: string | null;
  name: string | null;
  isRevoked: boolean;
}

interface Enrolled extends Device {
  isApproved: boolean;
}

/** A row of FIND_ENROLLED_KEY. */
interface KnownKey extends Enrolled {
  tokenId: string;
  isRetired: boolean;
}

/** What a device proved: it has the private key of this public one, and sends it from this MAC. */
interface Applicant {
  mac: string;
  publicKey: Buffer;
  thumbprint: string;
}

/** Takes up the keys of devices that show a one-time token, or the key that they had before. */
@Injectable()
export class Enrollment {
  constructor(
    private readonly dataSource: DataSource,
    private readonly keys: TokenKeys,
    private readonly jwts: DeviceJwts,
  ) {}

  /**
   * Idempotent: a device that did not get the answer sends the same key with the same token again. Keys that the device had stay in force until the new one
   * has been used once.
   * @throws WaypostError ENROLLMENT_REFUSED, MAC_INVALID; ASSERTION_INVALID, CLOCK_SKEWED
   */
  async enroll({ token, proof }: EnrollRequest): Promise<EnrollResponse> {
    const digest = secretDigest(token);
    const applicant = await this.applicantOf(proof, digest);
    await faultPoint('central.enrollment-received');
    const predecessor = ENROLLMENT_TOKEN.test(token) ? undefined : await this.predecessorOf(token, applicant);
    const enrolled = await this.dataSource.transaction((manager) =>
      predecessor ? succeed(manager, predecessor, applicant) : admit(manager, digest, applicant),
    );
    await faultPoint('central.enrollment-stored');
    const { id: deviceId, mac, name, isApproved } = enrolled;
    return { deviceId, fleet: await this.keys.fleet(), mac: mac as string, name, state: isApproved ? 'active' : 'pending' };
  }

  /** The key in force that vouches for a new one. */
  private async predecessorOf(rotation: string, { mac, thumbprint }: Applicant): Promise<DeviceKey> {
    const { key, claims } = await this.jwts.verify(rotation, JWT_TYPES.rotation, rotationClaimsSchema);
    if (claims.jkt !== thumbprint) throw refused('The key in force vouches for another key.');
    if (key.mac !== mac) throw refused(`The key in force is that of ${key.mac}, not of ${mac}.`);
    return key;
  }

  /** Before any query. */
  private async applicantOf(proof: string, digest: string): Promise<Applicant> {
    const publicKey = embeddedKey(proof);
    try {
      // The device learns the fleet's name with the answer: its proof is for the one who made the token.
      const claims = await verifyJwt(proof, publicKeyOf(publicKey), enrollmentClaimsSchema, { typ: JWT_TYPES.enrollment });
      if (claims.token !== digest) throw new Error('it was made for another token');
      return { mac: normalizeMac(claims.mac), publicKey, thumbprint: thumbprintOf(publicKey) };
    } catch (cause) {
      if (cause instanceof WaypostError) throw cause;
      throw new WaypostError('ENROLLMENT_REFUSED', { detail: 'The proof does not show that the device has the private key.', cause });
    }
  }
}

function embeddedKey(proof: string): Buffer {
  try {
    const { jwk } = decodeProtectedHeader(proof);
    const raw = Buffer.from(jwk?.x ?? '', 'base64url');
    if (jwk?.kty === 'OKP' && jwk.crv === 'Ed25519' && raw.length === PUBLIC_KEY_BYTES) return raw;
  } catch {
    // Refused below.
  }
  throw new WaypostError('ENROLLMENT_REFUSED', { detail: 'The proof holds no Ed25519 public key.' });
}

/** A device replaces its key by itself. */
async function succeed(manager: EntityManager, predecessor: DeviceKey, { publicKey, thumbprint }: Applicant): Promise<Enrolled> {
  const known = await find(manager, thumbprint);
  if (!known) await manager.query(ADD_SUCCESSOR, [thumbprint, publicKey, predecessor.thumbprint]);
  const key = known ?? (await find(manager, thumbprint));
  if (key && key.id === predecessor.deviceId && !key.isRetired && !key.isRevoked) return key;
  throw refused('The new key was enrolled before, or the key in force is retired by now.');
}

async function find(manager: EntityManager, thumbprint: string): Promise<KnownKey | undefined> {
  const [known] = await manager.query<KnownKey[]>(FIND_ENROLLED_KEY, [thumbprint]);
  return known;
}

/** Locks the token first, then the device: two devices with one token take turns. */
async function admit(manager: EntityManager, digest: string, applicant: Applicant): Promise<Enrolled> {
  const { mac, publicKey, thumbprint } = applicant;
  const [token] = await manager.query<Token[]>(LOCK_TOKEN, [digest]);
  if (!token) throw refused('Central knows no such token.');
  const [known] = await manager.query<(Device & { tokenId: string; isApproved: boolean; isRetired: boolean })[]>(FIND_ENROLLED_KEY, [
    thumbprint,
  ]);
  if (known) {
    if (known.tokenId !== token.id || known.isRetired || known.isRevoked)
      throw refused('The key was enrolled before: the device makes a new one.');
    return known;
  }
  if (!token.isValid) throw refused('The token has expired.');
  if (token.usesLeft === 0) throw refused('The token was used already.');
  const device = await deviceFor(manager, token, mac);
  await manager.query(ADMIT_DEVICE, [device.id, mac]);
  await manager.query(ADD_KEY, [thumbprint, device.id, publicKey, token.id, token.needsApproval]);
  return { ...device, mac, isApproved: !token.needsApproval };
}

/** The device that a token is for: the one it names, or a new one. */
async function deviceFor(manager: EntityManager, token: Token, mac: string): Promise<Device> {
  const found = await manager.query<(Device & { hasKeys: boolean })[]>(LOCK_DEVICES, [token.deviceId, mac]);
  const own = found.find(({ id }) => id === token.deviceId);
  const sameMac = found.find((device) => device.mac === mac);
  if (token.deviceId !== null) {
    if (own?.mac && own.mac !== mac) throw refused(`The token is for the device ${own.mac}, not for ${mac}.`);
    if (!own || (sameMac && sameMac !== own)) throw refused(`Another device has the MAC address ${mac}.`);
    return own;
  }
  // A token for many devices takes over none.
  if (sameMac && (sameMac.hasKeys || sameMac.isRevoked))
    throw refused(`The device ${mac} has enrolled before: it needs a token of its own.`);
  if (sameMac) return sameMac;
  const device = { id: newId(), mac, name: null, isRevoked: false };
  await manager.query(ADD_DEVICE, [device.id, mac, `enrollment token ${token.id}`]);
  return device;
}

function refused(detail: string): WaypostError {
  return new WaypostError('ENROLLMENT_REFUSED', { detail });
}

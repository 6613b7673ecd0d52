import { randomBytes } from 'node:crypto';
import { normalizeMac, secretDigest, WaypostError } from '@waypost/contracts';
import { newId, type Query } from '@waypost/runtime';

/** A device that may enroll, or did. */
export interface EnrolledDevice {
  id: string;
  mac: string | null;
  name: string | null;
  state: 'invited' | 'pending' | 'active' | 'revoked';
  createdAt: Date;
  enrolledAt: Date | null;
  lastUsedAt: Date | null;
  revokedAt: Date | null;
  clonedAt: Date | null;
}

export interface EnrolledKey {
  thumbprint: string;
  enrolledAt: Date;
  approvedAt: Date | null;
  firstUsedAt: Date | null;
  lastUsedAt: Date | null;
  retiredAt: Date | null;
  clonedAt: Date | null;
  /** Of the last client certificate that the device got with this key. */
  certificateExpiresAt: Date | null;
  /** Number of its last receipt in the ledger. */
  receipts: number | null;
  /** Why a receipt did not continue the one before it. */
  receiptFinding: string | null;
}

/** What `waypost device add` is asked for. */
export interface Invitation {
  mac: string | undefined;
  name: string | undefined;
  uses: number;
  lifeMs: number;
  needsApproval: boolean;
  by: string;
}

export interface IssuedToken {
  device: Pick<EnrolledDevice, 'id' | 'mac' | 'name'> | null;
  /** The only time that it is shown: central stores its hash. */
  token: string;
  expiresAt: Date;
  uses: number;
  needsApproval: boolean;
}

const STATE = `CASE WHEN d.revoked_at IS NOT NULL THEN 'revoked'
  WHEN count(k.*) FILTER (WHERE k.retired_at IS NULL AND k.approved_at IS NOT NULL) > 0 THEN 'active'
  WHEN count(k.*) FILTER (WHERE k.retired_at IS NULL) > 0 THEN 'pending' ELSE 'invited' END`;

const SELECT_DEVICES = `
  SELECT d.id, d.mac, d.name, ${STATE} AS state, d.created_at AS "createdAt", max(k.enrolled_at) AS "enrolledAt", max(k.last_used_at) AS "lastUsedAt",
         d.revoked_at AS "revokedAt", max(k.cloned_at) AS "clonedAt"
  FROM waypost.devices d LEFT JOIN waypost.device_keys k ON k.device_id = d.id`;

/** By name or MAC; at most `limit`. */
export function listDevices(query: Query, limit: number): Promise<EnrolledDevice[]> {
  return query<EnrolledDevice>(`${SELECT_DEVICES} GROUP BY d.id ORDER BY coalesce(d.name, d.mac), d.id LIMIT $1`, [limit]);
}

/** @param named its id, its name, or its MAC in any notation @throws WaypostError DEVICE_UNKNOWN */
export async function findDevice(query: Query, named: string): Promise<EnrolledDevice> {
  const [device] = await query<EnrolledDevice>(`${SELECT_DEVICES} WHERE d.id = $1 OR d.name = $1 OR d.mac = $2 GROUP BY d.id`, [
    named,
    macOf(named),
  ]);
  if (device) return device;
  throw new WaypostError('DEVICE_UNKNOWN', {
    detail: `No device is enrolled, or was added, as ${JSON.stringify(named)}.`,
    hint: 'waypost device list shows all of them; waypost device add adds one.',
  });
}

/** The newest first. */
export function keysOf(query: Query, deviceId: string): Promise<EnrolledKey[]> {
  return query<EnrolledKey>(
    `SELECT thumbprint, enrolled_at AS "enrolledAt", approved_at AS "approvedAt", first_used_at AS "firstUsedAt", last_used_at AS "lastUsedAt",
            retired_at AS "retiredAt", cloned_at AS "clonedAt", certificate_expires_at AS "certificateExpiresAt",
            c.sequence::float8 AS receipts, c.finding AS "receiptFinding"
     FROM waypost.device_keys k LEFT JOIN waypost.ledger_chains c ON c.key = k.thumbprint
     WHERE k.device_id = $1 ORDER BY enrolled_at DESC, thumbprint`,
    [deviceId],
  );
}

/**
 * Makes an enrollment token, and the device where it is new. In a transaction.
 * @throws WaypostError CONFIG_INVALID where MAC and name belong to two devices
 */
export async function invite(query: Query, { mac, name, uses, lifeMs, needsApproval, by }: Invitation): Promise<IssuedToken> {
  const device = mac === undefined && name === undefined ? null : await deviceFor(query, mac ?? null, name ?? null, by);
  const token = `wpe_${randomBytes(32).toString('base64url')}`;
  const [row] = await query<{ expiresAt: Date }>(
    `INSERT INTO waypost.enrollment_tokens (digest, device_id, uses_left, needs_approval, created_by, expires_at)
     VALUES ($1, $2, $3, $4, $5, now() + $6::float8 * interval '1 ms') RETURNING expires_at AS "expiresAt"`,
    [secretDigest(token), device?.id ?? null, uses, needsApproval, by, lifeMs],
  );
  return { device, token, expiresAt: (row as { expiresAt: Date }).expiresAt, uses, needsApproval };
}

/** @returns the thumbprints of the keys that waited */
export async function approve(query: Query, deviceId: string): Promise<string[]> {
  const rows = await query<{ thumbprint: string }>(
    `UPDATE waypost.device_keys SET approved_at = now() WHERE device_id = $1 AND approved_at IS NULL AND retired_at IS NULL RETURNING thumbprint`,
    [deviceId],
  );
  return rows.map(({ thumbprint }) => thumbprint);
}

/** Its keys and tokens open nothing any more. @returns whether it was in force */
export async function revoke(query: Query, deviceId: string): Promise<boolean> {
  const rows = await query<object>(
    `WITH retired AS (UPDATE waypost.device_keys SET retired_at = now() WHERE device_id = $1 AND retired_at IS NULL),
          withdrawn AS (DELETE FROM waypost.enrollment_tokens WHERE device_id = $1)
     UPDATE waypost.devices SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING id`,
    [deviceId],
  );
  return rows.length > 0;
}

/** The device makes a new key when it asks for its next access token. @returns whether it has a key in force */
export async function rotate(query: Query, deviceId: string): Promise<boolean> {
  const rows = await query<object>(
    `UPDATE waypost.devices d SET rotate_keys_before = now()
     WHERE id = $1 AND revoked_at IS NULL AND EXISTS (SELECT FROM waypost.device_keys k WHERE k.device_id = d.id AND k.retired_at IS NULL) RETURNING id`,
    [deviceId],
  );
  return rows.length > 0;
}

async function deviceFor(
  query: Query,
  mac: string | null,
  name: string | null,
  by: string,
): Promise<Pick<EnrolledDevice, 'id' | 'mac' | 'name'>> {
  type Known = Pick<EnrolledDevice, 'id' | 'mac' | 'name'>;
  const known = await query<Known>('SELECT id, mac, name FROM waypost.devices WHERE mac = $1 OR name = $2 FOR UPDATE', [mac, name]);
  const [first] = known;
  if (known.length > 1 || (first && mac !== null && first.mac !== null && first.mac !== mac)) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: `${name ?? ''} and ${mac ?? ''} are two devices.`,
      hint: 'waypost device list shows both: name the device by one of the two.',
    });
  }
  const [device] = first
    ? await query<Known>(
        'UPDATE waypost.devices SET mac = coalesce(mac, $2), name = coalesce($3, name) WHERE id = $1 RETURNING id, mac, name',
        [first.id, mac, name],
      )
    : await query<Known>('INSERT INTO waypost.devices (id, mac, name, created_by) VALUES ($1, $2, $3, $4) RETURNING id, mac, name', [
        newId(),
        mac,
        name,
        by,
      ]);
  return device as Known;
}

/** Null where it is none. */
function macOf(text: string): string | null {
  try {
    return normalizeMac(text);
  } catch {
    return null;
  }
}

import { randomBytes } from 'node:crypto';
import { type Right, secretDigest, WaypostError } from '@waypost/contracts';
import { newId, type Query } from '@waypost/runtime';

/** An API key, without its secret. */
export interface ProgramKey {
  id: string;
  name: string;
  rights: Right[];
  state: 'active' | 'expired' | 'revoked';
  createdAt: Date;
  createdBy: string;
  expiresAt: Date;
  lastUsedAt: Date | null;
  revokedAt: Date | null;
}

const SELECT_KEYS = `
  SELECT id, name, rights, CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= now() THEN 'expired' ELSE 'active' END AS state,
         created_at AS "createdAt", created_by AS "createdBy", expires_at AS "expiresAt", last_used_at AS "lastUsedAt", revoked_at AS "revokedAt"
  FROM waypost.api_keys`;

/** By name; at most `limit`. */
export function listKeys(query: Query, limit: number): Promise<ProgramKey[]> {
  return query<ProgramKey>(`${SELECT_KEYS} ORDER BY name LIMIT $1`, [limit]);
}

/** @param named its name or id @throws WaypostError CONFIG_INVALID */
export async function findKey(query: Query, named: string): Promise<ProgramKey> {
  const [key] = await query<ProgramKey>(`${SELECT_KEYS} WHERE name = $1 OR id = $1`, [named]);
  if (key) return key;
  throw new WaypostError('CONFIG_INVALID', {
    detail: `There is no API key ${JSON.stringify(named)}.`,
    hint: 'waypost key list shows all of them; waypost key add makes one.',
  });
}

/** @returns the key and, this once, its secret: central stores a hash of it @throws WaypostError CONFIG_INVALID where the name is taken */
export async function addKey(
  query: Query,
  { name, rights, lifeMs, by }: { name: string; rights: readonly Right[]; lifeMs: number; by: string },
): Promise<{ key: ProgramKey; secret: string }> {
  const id = newId();
  const secret = `wpk_${id}_${randomBytes(32).toString('base64url')}`;
  const added = await query<object>(
    `INSERT INTO waypost.api_keys (id, name, digest, rights, created_by, expires_at)
     VALUES ($1, $2, $3, $4, $5, now() + $6::float8 * interval '1 ms') ON CONFLICT (name) DO NOTHING RETURNING id`,
    [id, name, secretDigest(secret), rights, by, lifeMs],
  );
  if (added.length === 0) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: `There is an API key ${name} already, or was one.`,
      hint: 'Choose another name: what the audit says of a key must stay clear.',
    });
  }
  return { key: await findKey(query, id), secret };
}

/** It opens nothing any more, from the next request on. @returns whether it was in force */
export async function revokeKey(query: Query, id: string): Promise<boolean> {
  const revoked = await query<object>(
    'UPDATE waypost.api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL AND expires_at > now() RETURNING id',
    [id],
  );
  return revoked.length > 0;
}

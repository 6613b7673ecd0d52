import { type Manifest, WaypostError } from '@waypost/contracts';
import type { EntityManager } from 'typeorm';
import { READ_MANIFEST } from './manifests.sql.js';

interface Found {
  mac: string;
  document: Manifest;
  isAlive: boolean;
}

/**
 * The manifest that a device names, expired or not.
 * @throws WaypostError MANIFEST_UNKNOWN, MANIFEST_NOT_YOURS
 */
export async function getManifest(manager: EntityManager, manifestId: string, mac: string): Promise<Manifest> {
  return (await find(manager, manifestId, mac)).document;
}

/**
 * The manifest that a device names, while what it lists is kept.
 * @throws WaypostError MANIFEST_UNKNOWN, MANIFEST_NOT_YOURS, MANIFEST_EXPIRED
 */
export async function getLiveManifest(manager: EntityManager, manifestId: string, mac: string): Promise<Manifest> {
  const { document, isAlive } = await find(manager, manifestId, mac);
  if (isAlive) return document;
  throw new WaypostError('MANIFEST_EXPIRED', { detail: `The manifest ${manifestId} expired at ${document.expiresAt}.` });
}

async function find(manager: EntityManager, manifestId: string, mac: string): Promise<Found> {
  const [row] = await manager.query<Found[]>(READ_MANIFEST, [manifestId]);
  if (!row) throw new WaypostError('MANIFEST_UNKNOWN', { detail: `There is no manifest ${manifestId}.` });
  if (row.mac !== mac) throw new WaypostError('MANIFEST_NOT_YOURS', { detail: `The manifest ${manifestId} was not issued to ${mac}.` });
  return row;
}

import {
  canonicalJson,
  type Have,
  HEADER_BYTES,
  INDEX_ENTRY_BYTES,
  type Manifest,
  type ManifestTable,
  sealManifest,
} from '@waypost/contracts';
import { faultPoint } from '@waypost/runtime';
import type { EntityManager } from 'typeorm';
import { ulid } from 'ulid';
import { ManifestRow, ManifestTableRow } from '../database/entities.js';
import { describeFilter, type Scope } from '../scopes/resolve-scope.js';
import type { Snapshot, TableSnapshot } from '../snapshots/build-snapshot.js';

interface IssueOptions {
  mac: string;
  /** What the device says it applied last. */
  have: Have | undefined;
  epoch: string;
  schemaVersion: number;
  scope: Scope;
  snapshot: Snapshot;
  ttlMs: number;
}

export interface IssuedManifest {
  manifest: Manifest;
  /** False where the device's last manifest says the same and lives long enough: it is given again. */
  isNew: boolean;
}

/**
 * Gives a device the manifest of a snapshot: its last one if nothing differs and more than half of its life is left, else a new one,
 * which is stored before anybody sees it. Must run while the device's lock is held, so that sequences follow the snapshots' order.
 */
export async function issueManifest(manager: EntityManager, options: IssueOptions): Promise<IssuedManifest> {
  const { mac, epoch, schemaVersion, scope, snapshot, ttlMs } = options;
  const now = new Date();
  const content = {
    schemaVersion,
    epoch,
    device: { mac, id: scope.get('device_id') ?? null },
    filters: Object.fromEntries(scope),
    types: snapshot.types,
    tables: snapshot.tables.map(toManifestTable),
  };

  // By sequence: this clock may have been set since.
  const last = await manager.findOne(ManifestRow, { where: { mac, epoch }, order: { sequence: 'DESC' } });
  if (last && livesOn(last, now, ttlMs)) {
    const manifest = last.document as Manifest;
    if (isAcceptable(manifest, options.have) && contentOf(manifest) === canonicalJson(content)) return { manifest, isNew: false };
  }

  const [{ sequence }] = await manager.query<[{ sequence: string }]>("SELECT nextval('waypost.manifest_sequence') AS sequence");
  const expiresAt = new Date(now.getTime() + ttlMs);
  const manifest = sealManifest({
    manifestId: ulid(now.getTime()),
    generatedAt: now.toISOString(),
    expiresAt: expiresAt.toISOString(),
    sequence: Number(sequence),
    ...content,
  });
  await storeManifest(manager, manifest, options);
  await faultPoint('central.manifest-issued');
  return { manifest, isNew: true };
}

/** More than half of its life is left, yet not more than a whole one: it was not made while this clock was ahead. */
function livesOn({ expiresAt }: ManifestRow, now: Date, ttlMs: number): boolean {
  const leftMs = expiresAt.getTime() - now.getTime();
  return leftMs > ttlMs / 2 && leftMs <= ttlMs;
}

/** A device refuses what is behind the manifest it holds. That happens where central's database went back and was then overtaken again. */
function isAcceptable({ manifestId, epoch, sequence }: Manifest, have: Have | undefined): boolean {
  if (have?.epoch !== epoch || have.sequence < sequence) return true;
  return have.sequence === sequence && have.manifestId === manifestId;
}

function toManifestTable({ table, columns, key, format, index }: TableSnapshot): ManifestTable {
  const { rowCount, rawBytes, frameBytes, sha256 } = index.totals();
  return {
    name: table.name,
    rowCount,
    sha256,
    format,
    columns: columns.map(({ name, type, notNull }) => ({ name, type, notNull })),
    key,
    ...(table.onReferenced ? { onReferenced: table.onReferenced } : {}),
    rawBytes,
    streamBytes: HEADER_BYTES + index.length * INDEX_ENTRY_BYTES + frameBytes,
  };
}

/** What two manifests must share to mean the same state. */
function contentOf({ schemaVersion, epoch, device, filters, types, tables }: Manifest): string {
  return canonicalJson({ schemaVersion, epoch, device, filters, types, tables });
}

async function storeManifest(manager: EntityManager, manifest: Manifest, { scope, snapshot }: IssueOptions): Promise<void> {
  const { manifestId, epoch, device, sha256 } = manifest;
  const generatedAt = new Date(manifest.generatedAt);
  await manager.transaction(async (transaction) => {
    await transaction.insert(ManifestRow, {
      manifestId,
      epoch,
      sequence: String(manifest.sequence),
      mac: device.mac,
      generatedAt,
      expiresAt: new Date(manifest.expiresAt),
      sha256,
      document: manifest as never,
    });
    await transaction.insert(
      ManifestTableRow,
      manifest.tables.map((table, at) => ({
        manifestId,
        tableName: table.name,
        generatedAt,
        rowCount: String(table.rowCount),
        sha256: table.sha256,
        format: table.format,
        filterDesc: describeFilter((snapshot.tables[at] as TableSnapshot).table, scope),
      })),
    );
    await faultPoint('central.manifest-written');
  });
}

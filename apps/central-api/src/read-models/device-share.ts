import { HEADER_BYTES, INDEX_ENTRY_BYTES, type Manifest, openManifest } from '@waypost/contracts';
import { pinSession, type Query, queryOn, withTransaction } from '@waypost/runtime';
import pg from 'pg';
import type { CheckedPlan } from '../plan/check-plan.js';
import { queryFault } from '../plan/query-fault.js';
import { canonicalTableQuery, castParameter } from '../plan/resolve-table.js';
import { resolveScope, type Scope } from '../scopes/resolve-scope.js';
import { buildSnapshot, type TableSnapshot } from '../snapshots/build-snapshot.js';
import { discardingStore } from './discarding-store.js';

/** What the device acknowledged last, by the manifests' order. $1: MAC */
const HELD = `
  SELECT m.document FROM waypost.sync_acknowledgements a JOIN waypost.manifests m USING (manifest_id)
  WHERE a.mac = $1 AND a.result = 'Success'
  ORDER BY (m.epoch = (SELECT value FROM waypost.central_state WHERE key = 'epoch')) DESC NULLS LAST, m.epoch DESC, m.sequence DESC
  LIMIT 1`;

export interface TableShare {
  name: string;
  rowCount: number;
  rawBytes: number;
  streamBytes: number;
  sha256: string;
  /** Compared with what the device acknowledged last: `same` is not downloaded. */
  compared: 'same' | 'changed' | 'new';
  parameters: string[];
  filter: string | null;
  query: string;
}

/** What a device would get now, and why. Sizes in bytes. */
export interface DeviceShare {
  mac: string;
  /** Path of the plan's file. */
  plan: string;
  schemaVersion: number;
  scope: { query: string; parameters: { name: string; type: string; value: string | null }[] };
  /** Null before the device's first acknowledgement. */
  comparedWith: Pick<Manifest, 'manifestId' | 'epoch' | 'sequence'> | null;
  rowCount: number;
  rawBytes: number;
  /** Of the tables that it does not have yet, compressed. */
  downloadBytes: number;
  tables: TableShare[];
  noLongerInPlan: string[];
}

/**
 * Builds the device's share as a request would, and keeps nothing of it.
 * @param knowsAcks the database has Waypost's tables
 * @throws WaypostError as a request; DEVICE_UNKNOWN
 */
export async function readDeviceShare(client: pg.ClientBase, plan: CheckedPlan, mac: string, knowsAcks: boolean): Promise<DeviceShare> {
  const { scope, snapshot } = await withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
    await pinSession(client);
    const scope = await resolveScope(client, plan, mac).catch((error: unknown) => {
      throw queryFault(error, 'scope query');
    });
    return { scope, snapshot: await buildSnapshot(client, { plan, scope, store: discardingStore }) };
  });
  const held = knowsAcks ? await findHeld(queryOn(client), mac) : undefined;
  const tables = snapshot.tables.map((table) => shareOf(table, plan, scope, held));
  const sum = (of: (table: TableShare) => number): number => tables.reduce((total, table) => total + of(table), 0);
  return {
    mac,
    plan: plan.file.path,
    schemaVersion: plan.schemaVersion,
    scope: {
      query: plan.file.plan.scope.query.trim(),
      parameters: [...scope].map(([name, value]) => ({ name, type: plan.scopeTypes.get(name) ?? 'text', value })),
    },
    comparedWith: held ? { manifestId: held.manifestId, epoch: held.epoch, sequence: held.sequence } : null,
    rowCount: sum(({ rowCount }) => rowCount),
    rawBytes: sum(({ rawBytes }) => rawBytes),
    downloadBytes: sum(({ compared, streamBytes }) => (compared === 'same' ? 0 : streamBytes)),
    tables,
    noLongerInPlan: (held?.tables ?? []).map(({ name }) => name).filter((name) => !tables.some((table) => table.name === name)),
  };
}

async function findHeld(query: Query, mac: string): Promise<Manifest | undefined> {
  const [row] = await query<{ document: unknown }>(HELD, [mac]);
  return row && openManifest(row.document);
}

function shareOf(snapshot: TableSnapshot, plan: CheckedPlan, scope: Scope, held: Manifest | undefined): TableShare {
  const { table, index } = snapshot;
  const { rowCount, rawBytes, frameBytes, sha256 } = index.totals();
  const before = held?.tables.find(({ name }) => name === table.name);
  return {
    name: table.name,
    rowCount,
    rawBytes,
    streamBytes: HEADER_BYTES + index.length * INDEX_ENTRY_BYTES + frameBytes,
    sha256,
    compared: !before ? 'new' : before.sha256 === sha256 && before.format === snapshot.format ? 'same' : 'changed',
    parameters: table.parameters,
    filter: table.where ?? null,
    // For people to read and to run; central binds the values and never pastes them.
    query: canonicalTableQuery(table, snapshot, (name) => literal(plan, scope, name)),
  };
}

function literal(plan: CheckedPlan, scope: Scope, name: string): string {
  const value = scope.get(name) ?? null;
  return castParameter(value === null ? 'NULL' : pg.escapeLiteral(value), plan.scopeTypes.get(name) as string);
}

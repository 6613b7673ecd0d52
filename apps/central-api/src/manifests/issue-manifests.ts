import {
  canonicalJson,
  type Have,
  HEADER_BYTES,
  INDEX_ENTRY_BYTES,
  type Manifest,
  type ManifestTable,
  sealManifest,
  shapeFingerprint,
  WaypostError,
} from '@waypost/contracts';
import { faultPoint, newId } from '@waypost/runtime';
import type { EntityManager } from 'typeorm';
import { describeFilter, type Scope } from '../scopes/resolve-scope.js';
import { shapeOf, type Snapshot, type TableSnapshot } from '../snapshots/build-snapshot.js';
import type { ManifestContent } from './manifest-content.js';
import { closeShrinks, holdShrinks, type KnownShrink } from './hold-shrinks.js';
import { INSERT_MANIFESTS, INSERT_TABLES, LAST_MANIFESTS, NEXT_SEQUENCES, NOTE_SEEN } from './manifests.sql.js';
import { totalsOf } from '../chunk-store/totals.js';

/** A device that gets a manifest of a snapshot. */
export interface Recipient {
  mac: string;
  /** What the device says it applied last. */
  have: Have | undefined;
  scope: Scope;
}

interface IssueOptions {
  epoch: string;
  schemaVersion: number;
  onRemoved: Manifest['onRemoved'];
  snapshot: Snapshot;
  ttlMs: number;
  /** What the snapshot has seen, where changes are captured, and under which definitions. */
  seen: { snapshot: string; fingerprint: string } | undefined;
  /** Part of its rows that a table may lose in one step; Infinity for all. */
  maxShrink: number;
}

export interface IssuedManifest {
  manifest: Manifest;
  /** False where the device's last manifest says the same and lives long enough: it is given again. */
  isNew: boolean;
}

/**
 * Gives each device the manifest of a snapshot: its last one if nothing differs and more than half of its life is left, else a new one,
 * which is stored before it is sent. Must run while the devices' locks are held, so that sequences follow the snapshots' order.
 * A few statements, however many devices there are.
 * @returns for a device whose share lost too many rows the refusal, WaypostError SHARE_SHRANK, in place of a manifest
 */
export async function issueManifests(
  manager: EntityManager,
  recipients: readonly Recipient[],
  options: IssueOptions,
): Promise<(IssuedManifest | WaypostError)[]> {
  const { epoch, ttlMs, seen } = options;
  const now = new Date();
  const contents = contentsOf(recipients, options);
  const macs = recipients.map(({ mac }) => mac);
  const known = await manager.query<Known[]>(LAST_MANIFESTS, [macs, epoch, now, ttlMs]);
  const knownOf = new Map(known.map((device) => [device.mac, device]));
  const given = recipients.map(({ mac, have }, at): IssuedManifest | undefined => {
    const { document: manifest, lastSequence } = knownOf.get(mac) ?? {};
    const holds = manifest && isAcceptable(manifest, have, Number(lastSequence)) && contentOf(manifest) === canonicalJson(contents[at]);
    return holds ? { manifest, isNew: false } : undefined;
  });
  const refusals = await refuseShrinks(manager, { recipients, contents, given, knownOf }, options);
  const allowed = given.map(
    (last, at): IssuedManifest | WaypostError | undefined => refusals.get((recipients[at] as Recipient).mac) ?? last,
  );
  const again = allowed.flatMap((answer) => (answer && !(answer instanceof WaypostError) ? answer.manifest.manifestId : []));
  if (seen && again.length > 0) await manager.query(NOTE_SEEN, [again, seen.snapshot, seen.fingerprint]);
  const added = allowed.filter((answer) => answer === undefined).length;
  if (added === 0) return allowed as (IssuedManifest | WaypostError)[];

  const sequences = await manager.query<{ sequence: string }[]>(NEXT_SEQUENCES, [added]);
  const expiresAt = new Date(now.getTime() + ttlMs).toISOString();
  const answers = allowed.map((answer, at) => {
    if (answer) return answer;
    const sequence = Number(sequences.pop()?.sequence);
    const fixed = { manifestId: newId(now.getTime()), generatedAt: now.toISOString(), expiresAt, sequence };
    return { manifest: sealManifest({ ...fixed, ...(contents[at] as ManifestContent) }), isNew: true };
  });
  await storeManifests(manager, answers, recipients, options);
  await faultPoint('central.manifest-issued');
  return answers;
}

interface Known {
  mac: string;
  document: Manifest | null;
  /** Of all devices. */
  lastSequence: string;
  shrinks: KnownShrink[] | null;
}

interface Answering {
  recipients: readonly Recipient[];
  contents: readonly ManifestContent[];
  /** Manifests that would be given again. */
  given: readonly (IssuedManifest | undefined)[];
  knownOf: ReadonlyMap<string, Known>;
}

/** A device that holds the manifest that it is given again loses nothing by it: that costs no statement. @returns by MAC */
async function refuseShrinks(
  manager: EntityManager,
  { recipients, contents, given, knownOf }: Answering,
  { snapshot, maxShrink }: IssueOptions,
): Promise<Map<string, WaypostError>> {
  const losing = recipients.flatMap(({ mac, have }, at) => {
    if (!have || given[at]?.manifest.manifestId === have.manifestId) return [];
    return [{ mac, have, now: contents[at] as ManifestContent, known: knownOf.get(mac)?.shrinks ?? [] }];
  });
  const plan = snapshot.tables.map(({ table }) => table);
  const refusals = await holdShrinks(manager, losing, { plan, maxShrink });
  const isOpen = (mac: string): boolean => knownOf.get(mac)?.shrinks?.some((shrink) => shrink.isOpen) ?? false;
  const over = recipients.map(({ mac }) => mac).filter((mac) => isOpen(mac) && !refusals.has(mac));
  // Before anything is noted by which the next request could be answered without coming here.
  if (over.length > 0) await closeShrinks(manager, over);
  return refusals;
}

function contentsOf(recipients: readonly Recipient[], { epoch, schemaVersion, onRemoved, snapshot }: IssueOptions): ManifestContent[] {
  const { types } = snapshot;
  const tables = snapshot.tables.map(toManifestTable);
  return recipients.map(({ mac, scope }) => {
    const device = { mac, id: scope.get('device_id') ?? null };
    return { schemaVersion, epoch, device, filters: Object.fromEntries(scope), types, tables, ...(onRemoved && { onRemoved }) };
  });
}

/**
 * A device refuses what is behind the manifest it holds. That happens where central's database went back and was then overtaken again. A claim that is
 * ahead of all that was ever given out is not worth a new manifest, which would be behind it, too.
 */
function isAcceptable({ manifestId, epoch, sequence }: Manifest, have: Have | undefined, lastSequence: number): boolean {
  if (have?.epoch !== epoch || have.sequence < sequence || have.sequence > lastSequence) return true;
  return have.sequence === sequence && have.manifestId === manifestId;
}

function toManifestTable(snapshot: TableSnapshot): ManifestTable {
  const { index, indexes, defaults } = snapshot;
  const { rowCount, rawBytes, frameBytes, sha256 } = totalsOf(index);
  const streamBytes = HEADER_BYTES + index.length * INDEX_ENTRY_BYTES + frameBytes;
  const described = { ...shapeOf(snapshot), ...(defaults.length > 0 && { defaults }) };
  return {
    ...described,
    shape: shapeFingerprint(described),
    ...(indexes.length > 0 && { indexes }),
    rowCount,
    sha256,
    rawBytes,
    streamBytes,
  };
}

/** What two manifests must share to mean the same state. */
function contentOf({ schemaVersion, epoch, device, filters, types, tables, onRemoved }: Manifest): string {
  return canonicalJson({ schemaVersion, epoch, device, filters, types, tables, ...(onRemoved && { onRemoved }) });
}

async function storeManifests(
  manager: EntityManager,
  answers: readonly (IssuedManifest | WaypostError)[],
  recipients: readonly Recipient[],
  { snapshot, seen, ttlMs }: IssueOptions,
): Promise<void> {
  const added = answers.flatMap((answer, at) =>
    answer instanceof WaypostError || !answer.isNew ? [] : [{ manifest: answer.manifest, scope: (recipients[at] as Recipient).scope }],
  );
  const tables = added.flatMap(({ manifest: { manifestId, generatedAt, tables }, scope }) =>
    tables.map(({ name, rowCount, sha256, format }, at) => {
      const filter = describeFilter((snapshot.tables[at] as TableSnapshot).table, scope);
      return { manifestId, name, generatedAt, rowCount, sha256, format, filter };
    }),
  );
  const documents = added.map(({ manifest }) => JSON.stringify(manifest));
  await manager.transaction(async (transaction) => {
    await transaction.query(INSERT_MANIFESTS, [documents, seen?.snapshot ?? null, seen?.fingerprint ?? null, ttlMs]);
    await transaction.query(INSERT_TABLES, [JSON.stringify(tables)]);
    await faultPoint('central.manifest-written');
  });
}

import { Inject, Injectable } from '@nestjs/common';
import { type Manifest, type ManifestTable, parseTableName, quoteTable } from '@waypost/contracts';
import { pinSession, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import type { TableOutcome } from '../audit/sync-log.js';
import { checkCreatable } from '../load/create-tables.js';
import type { SchemaOrder } from '../load/load-order.js';
import { type Mirror, MirrorInspector } from '../load/mirror-inspector.js';
import { type MirrorProof, proveMirror } from '../load/prove-mirror.js';
import { withReferencing } from '../load/local-references.js';
import { OwnedTables } from '../state/owned-tables.js';
import { tablesWithRetainedRows } from '../state/retained-rows.js';
import { type AppliedState, type KnownTables, knownTablesOf, MirrorState } from '../state/mirror-state.js';
import type { DeltaBase, Download } from '../download/downloads.js';
import { findAlteredSource } from '../schema/altered-source.js';
import { HeldManifest } from '../state/held-manifest.js';
import { holdsWhatItHeld } from '../verify/holds-what-it-held.js';
import { hashTable, type ReadTable } from '../verify/verify-table.js';
import { changedTables } from './changed-tables.js';
import type { Cycle } from '../phase/cycle.js';
import { DeltaBases } from './delta-bases.js';
import { MIRROR_OPTIONS, type MirrorOptions } from './mirror-options.js';

/** What a cycle found before it touches anything. */
export interface MirrorDiff {
  manifest: Manifest;
  before: AppliedState | undefined;
  /** To download and load, in the manifest's order. */
  changed: ManifestTable[];
  /** Read back and hashed again in this cycle, and as they should be, by name. */
  rehashed: ReadonlyMap<string, ReadTable>;
  /** What deltas of changed tables can start from. */
  bases: ReadonlyMap<string, DeltaBase>;
  /** Why all of a changed table is to be downloaded. */
  reasons: ReadonlyMap<string, string>;
  /** None of the changed tables is there yet: no session reads them or waits for their locks. */
  allNew: boolean;
  /** What is to be altered beside the rows. */
  schema?: SchemaOrder | undefined;
  /** Nothing at all is to be done: every table holds what it should, and nothing is beside the mirror. */
  isUntouched?: boolean;
}

/** What the mirror is compared with. */
interface Sought {
  manifest: Manifest;
  before: AppliedState | undefined;
  /** The manifest that the device holds. */
  held: Manifest | undefined;
}

/** What was found here. */
interface Found {
  mirror: Mirror;
  known: KnownTables;
  /** Tables that were just read. */
  hashed: ReadonlyMap<string, ReadTable>;
}

/** Finds what the device's mirror lacks of a manifest. */
@Injectable()
export class CompareMirror {
  constructor(
    @Inject(MIRROR_OPTIONS) private readonly options: MirrorOptions,
    private readonly state: MirrorState,
    private readonly owned: OwnedTables,
    private readonly deltas: DeltaBases,
    private readonly inspector: MirrorInspector,
    private readonly held: HeldManifest,
  ) {}

  /**
   * What has to change here. Local columns that differ refuse the whole cycle, before anything is downloaded. A mirror that was inspected
   * before is not inspected again while one statement proves that nothing of it was altered.
   */
  async compare({ verify }: Cycle, client: pg.PoolClient, manifest: Manifest, before: AppliedState | undefined): Promise<MirrorDiff> {
    const held = before && (await this.held.find(client, before));
    // Before the inspection: what is altered after this has another fingerprint.
    const proof = await proveMirror(client, manifest, 'compare');
    const mirror = this.inspector.recall(manifest, held, proof.fingerprint);
    const known = knownTablesOf(proof.known);
    const isSure = manifest.tables.every(({ name }) => known.get(name)?.intact);
    if (verify || !isSure || !mirror?.isOurs) return this.inspect(verify, client, { manifest, before, held }, proof);
    const diff = await this.diffOf(client, { manifest, before, held }, { mirror, known, hashed: new Map() });
    const isUntouched = diff.changed.length === 0 && !diff.schema && proof.retained.length === 0;
    return { ...diff, isUntouched };
  }

  /** The database was replaced. */
  reset(): void {
    this.inspector.forget();
  }

  private async inspect(verify: boolean, client: pg.PoolClient, sought: Sought, { fingerprint }: MirrorProof): Promise<MirrorDiff> {
    const { manifest, held } = sought;
    return withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
      const mirror = await this.inspector.inspect(client, manifest, held, fingerprint);
      mirror.isOurs = await this.owned.check(client, mirror.tables, holdsWhatItHeld);
      await checkCreatable(
        client,
        manifest,
        manifest.tables.filter(({ name }) => !mirror.tables.has(name)),
        mirror.alterations,
      );
      const { known, rehashed: hashed } = await this.knownTables(verify, client, manifest, mirror);
      return this.diffOf(client, sought, { mirror, known, hashed });
    });
  }

  private async diffOf(client: pg.PoolClient, { manifest, before, held }: Sought, { mirror, known, hashed }: Found): Promise<MirrorDiff> {
    const changed = this.toLoad(manifest, changedTables(manifest, known, mirror), mirror);
    const rehashed = new Map([...hashed].filter(([name]) => !changed.some((table) => table.name === name)));
    const bases = await this.deltas.find(client, changed, { mirror, known, before, hashed });
    const { alterations, labels } = mirror;
    const removed = removedTables(manifest, known, held);
    const isNeeded = alterations.size + labels.length + removed.length > 0;
    const schema = isNeeded ? { held, alterations, labels, removed, dropsRemoved: manifest.onRemoved === 'drop' } : undefined;
    const allNew = !schema && changed.every(({ name }) => !mirror.tables.has(name));
    return { manifest, before, changed, rehashed, ...bases, allNew, schema };
  }

  /** TRUNCATE includes the tables that reference those that changed. */
  private toLoad({ tables }: Manifest, changed: ReadonlySet<string>, { references }: Mirror): ManifestTable[] {
    if (this.options.loadStrategy === 'truncate') return withReferencing(tables, changed, references);
    return tables.filter(({ name }) => changed.has(name));
  }

  /**
   * The stored hashes; the rows themselves where those say nothing any more, or where everything is to be verified. Of a table that is to be altered it is what
   * its rows are then, so that only what still differs is fetched.
   */
  private async knownTables(verify: boolean, client: pg.PoolClient, manifest: Manifest, mirror: Mirror) {
    const known = new Map(await this.state.knownTables());
    const { tables, alterations } = mirror;
    const isUnsure = ({ name }: ManifestTable): boolean => verify || known.get(name)?.intact === false || alterations.has(name);
    await pinSession(client);
    const withRetained = await tablesWithRetainedRows(client);
    const hashed = new Map<string, ReadTable>();
    for (const table of manifest.tables) {
      const { name, format } = table;
      const local = tables.get(name);
      if (!local || !isUnsure(table)) continue;
      known.delete(name);
      const altered = alterations.get(name);
      const source = altered && (await findAlteredSource(client, table, local, altered));
      if (altered && !source) continue;
      const facts = await hashTable(client, table, local, { hasRetained: withRetained.has(name), ...(source && { source }) });
      hashed.set(name, facts);
      known.set(name, { sha256: facts.sha256, rowCount: facts.rowCount, format, intact: true, hasChunks: false });
    }
    return { known: known as KnownTables, rehashed: hashed };
  }
}

/** What becomes of each table. @param download what came in this cycle */
export function outcomesOf(
  { manifest, changed, reasons }: MirrorDiff,
  download?: Pick<Download, 'receivedBytes' | 'deltas' | 'refusals'>,
): TableOutcome[] {
  return manifest.tables.map((table) => {
    const { name, rowCount, sha256 } = table;
    const facts = { name, rowCount, sha256, downloadedBytes: download?.receivedBytes.get(name) ?? 0 };
    if (!changed.includes(table)) return { ...facts, action: 'unchanged' };
    const way = download?.deltas.get(name)?.expected.way ?? 'whole';
    const why = [reasons.get(name), download?.refusals.get(name)].filter((text) => text !== undefined).join('; ');
    return { ...facts, action: 'loaded', way, ...(way === 'delta' || why === '' ? {} : { reason: why }) };
  });
}

/** Tables that are mirrored and that the manifest does not name any more, in the order of the manifest that the device holds. */
function removedTables({ tables }: Manifest, known: KnownTables, held: Manifest | undefined): string[] {
  const relationOf = (name: string): string => quoteTable(parseTableName(name));
  const named = new Set(tables.map(({ name }) => relationOf(name)));
  const left = [...known.keys()].filter((name) => !named.has(relationOf(name)));
  const order = held?.tables.map(({ name }) => name) ?? [];
  return left.sort((one, other) => order.indexOf(one) - order.indexOf(other));
}

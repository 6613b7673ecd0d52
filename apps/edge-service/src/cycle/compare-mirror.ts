import { Inject, Injectable } from '@nestjs/common';
import type { Manifest, ManifestTable } from '@waypost/contracts';
import { pinSession, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import type { TableOutcome } from '../audit/sync-log.js';
import { CONFIG, type EdgeConfig } from '../config.js';
import { checkCreatable } from '../load/create-tables.js';
import { inspectMirror, type Mirror } from '../load/inspect-mirror.js';
import { withReferencing } from '../load/local-references.js';
import { tablesWithKeptRows } from '../state/kept-rows.js';
import { type AppliedState, type KnownTables, MirrorState } from '../state/mirror-state.js';
import { readFacts } from '../verify/verify-table.js';
import { changedTables } from './changed-tables.js';
import type { Cycle } from './cycle.js';

/** What a cycle found before it touches anything. */
export interface Plan {
  manifest: Manifest;
  before: AppliedState | undefined;
  /** To download and load, in the manifest's order. */
  changed: ManifestTable[];
  /** Read back and hashed anew in this cycle, and as they should be. */
  rehashed: ManifestTable[];
  /** None of the changed tables is there yet: nobody reads them, nobody waits for their locks. */
  allNew: boolean;
}

/** Finds what the device's mirror lacks of a manifest. */
@Injectable()
export class CompareMirror {
  constructor(
    @Inject(CONFIG) private readonly config: EdgeConfig,
    private readonly state: MirrorState,
  ) {}

  /** What has to change here. Local columns that differ refuse the whole cycle, before anything is downloaded. */
  async compare(cycle: Cycle, client: pg.PoolClient, manifest: Manifest, before: AppliedState | undefined): Promise<Plan> {
    return withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
      const mirror = await inspectMirror(client, manifest);
      await checkCreatable(
        client,
        manifest,
        manifest.tables.filter(({ name }) => !mirror.tables.has(name)),
      );
      const { known, rehashed: hashed } = await this.knownTables(cycle, client, manifest, mirror);
      const changed = this.toLoad(manifest, changedTables(manifest, known, mirror), mirror);
      const rehashed = hashed.filter((table) => !changed.includes(table));
      return { manifest, before, changed, rehashed, allNew: changed.every(({ name }) => !mirror.tables.has(name)) };
    });
  }

  /** TRUNCATE takes more tables along than those that changed. */
  private toLoad({ tables }: Manifest, changed: ReadonlySet<string>, { references }: Mirror): ManifestTable[] {
    if (this.config.LOAD_STRATEGY === 'truncate') return withReferencing(tables, changed, references);
    return tables.filter(({ name }) => changed.has(name));
  }

  /** The stored hashes; the rows themselves where those say nothing any more, or where everything is to be verified. */
  private async knownTables({ verify }: Cycle, client: pg.PoolClient, manifest: Manifest, mirror: Mirror) {
    const known = new Map(await this.state.knownTables());
    const rehashed = manifest.tables.filter(({ name }) => mirror.tables.has(name) && (verify || known.get(name)?.intact === false));
    await pinSession(client);
    const withKept = await tablesWithKeptRows(client);
    for (const table of rehashed) {
      const facts = await readFacts(client, table, mirror.tables.get(table.name)!, { hasKept: withKept.has(table.name) });
      known.set(table.name, { ...facts, format: table.format, intact: true });
    }
    return { known: known as KnownTables, rehashed };
  }
}

/** What becomes of each table. @param receivedBytes in this cycle, by table */
export function outcomesOf({ manifest, changed }: Plan, receivedBytes?: ReadonlyMap<string, number>): TableOutcome[] {
  return manifest.tables.map((table) => ({
    name: table.name,
    rowCount: table.rowCount,
    sha256: table.sha256,
    action: changed.includes(table) ? 'loaded' : 'unchanged',
    downloadedBytes: receivedBytes?.get(table.name) ?? 0,
  }));
}

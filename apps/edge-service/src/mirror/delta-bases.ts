import { Inject, Injectable } from '@nestjs/common';
import { canonicalJson, type ManifestTable } from '@waypost/contracts';
import { findRangeObstacle } from '@waypost/runtime';
import type pg from 'pg';
import type { DeltaBase } from '../download/downloads.js';
import type { Mirror } from '../load/mirror-inspector.js';
import { HeldManifest } from '../state/held-manifest.js';
import { tablesWithChunks } from '../state/held-chunks.js';
import type { AppliedState, KnownTables } from '../state/mirror-state.js';
import { keyedSource } from '../verify/verify-table.js';
import { MIRROR_OPTIONS, type MirrorOptions } from './mirror-options.js';

interface Here {
  mirror: Mirror;
  known: KnownTables;
  before: AppliedState | undefined;
}

/** Finds the tables whose rows are, here, those of the manifest that the device holds: a delta can start from them. */
@Injectable()
export class DeltaBases {
  constructor(
    @Inject(MIRROR_OPTIONS) private readonly options: MirrorOptions,
    private readonly held: HeldManifest,
  ) {}

  /** @returns for each of the tables a base, or why it has none */
  async find(
    client: pg.PoolClient,
    tables: readonly ManifestTable[],
    here: Here,
  ): Promise<{ bases: Map<string, DeltaBase>; reasons: Map<string, string> }> {
    const bases = new Map<string, DeltaBase>();
    const reasons = new Map<string, string>();
    const manifest = here.before && (await this.held.find(client, here.before));
    const withChunks = await tablesWithChunks(client);
    for (const table of tables) {
      const { name } = table;
      const base = manifest?.tables.find((other) => other.name === name);
      const obstacle =
        withChunks.has(name) || !here.mirror.tables.has(name)
          ? await this.findObstacle(client, table, base, here)
          : 'its chunks are not stored here';
      if (obstacle !== undefined) reasons.set(name, obstacle);
      else if (manifest && base) bases.set(name, { manifestId: manifest.manifestId, sha256: base.sha256 });
    }
    return { bases, reasons };
  }

  private async findObstacle(
    client: pg.PoolClient,
    table: ManifestTable,
    base: ManifestTable | undefined,
    { mirror, known }: Here,
  ): Promise<string | undefined> {
    const local = mirror.tables.get(table.name);
    const here = known.get(table.name);
    if (!local) return 'the table is new here';
    if (this.options.loadStrategy === 'truncate') return 'tables are emptied first (LOAD_STRATEGY)';
    if (!base) return 'the manifest that the device holds does not name it, or is not kept';
    if (layoutOf(base) !== layoutOf(table)) return 'its columns, key or format have changed';
    if (!here?.intact || here.sha256 !== base.sha256 || here.rowCount !== base.rowCount)
      return 'its rows are not those that the device held';
    if (base.rowCount === 0) return 'it had no rows';
    return findRangeObstacle(client, keyedSource(table, local, false), local.oid);
  }
}

/** What a row's canonical bytes depend on, besides its values. */
function layoutOf({ format, columns, key }: ManifestTable): string {
  return canonicalJson({ format, key, columns: columns.map(({ name, type }) => [name, type]) });
}

import { Inject, Injectable } from '@nestjs/common';
import { type BorderedIndex, canonicalJson, type ManifestTable, WaypostError } from '@waypost/contracts';
import { type CatalogTable, findRangeObstacle } from '@waypost/runtime';
import type pg from 'pg';
import type { DeltaBase } from '../download/downloads.js';
import type { Mirror } from '../load/mirror-inspector.js';
import { HeldManifest } from '../state/held-manifest.js';
import { readHeldChunks } from '../state/held-chunks.js';
import type { AppliedState, KnownTables } from '../state/mirror-state.js';
import { keyedSource, type ReadTable } from '../verify/verify-table.js';
import { MIRROR_OPTIONS, type MirrorOptions } from './mirror-options.js';

interface Here {
  mirror: Mirror;
  known: KnownTables;
  before: AppliedState | undefined;
  /** Tables that were just read, as they are or as they will be when they have been altered. */
  hashed: ReadonlyMap<string, ReadTable>;
}

/** Finds the tables that changes can start from: their rows are, here, those of the manifest that the device holds, or were just read. */
@Injectable()
export class DeltaBases {
  /** Of tables as they were described, for a layout. What such an obstacle is made of is part of the description's proof. */
  private readonly rangeObstacles = new WeakMap<CatalogTable, { layout: string; obstacle: string | undefined }>();

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
    for (const table of tables) {
      const { name } = table;
      const base = manifest?.tables.find((other) => other.name === name);
      const read = here.hashed.get(name);
      if (read) {
        const obstacle = await this.findReadObstacle(client, table, read, here);
        if (obstacle === undefined) bases.set(name, { sha256: read.sha256, chunks: read.chunks });
        reasons.set(name, obstacle ?? (here.mirror.alterations.has(name) ? ALTERED : OTHER_ROWS));
        continue;
      }
      const obstacle =
        here.known.get(name)?.hasChunks || !here.mirror.tables.has(name)
          ? await this.findObstacle(client, table, base, here)
          : 'its chunks are not stored here';
      if (obstacle !== undefined) {
        reasons.set(name, obstacle);
        continue;
      }
      if (!base) reasons.set(name, NOT_NAMED);
      const { sha256 } = here.known.get(name)!;
      bases.set(name, { manifestId: base && manifest?.manifestId, sha256, readChunks: () => readTrusted(client, table, sha256) });
    }
    return { bases, reasons };
  }

  private async findReadObstacle(
    client: pg.PoolClient,
    table: ManifestTable,
    { rowCount }: ReadTable,
    { mirror }: Here,
  ): Promise<string | undefined> {
    if (this.options.loadStrategy === 'truncate') return TRUNCATES;
    if (rowCount === 0) return 'it had no rows';
    const local = mirror.tables.get(table.name)!;
    return this.findRangeObstacle(client, table, local);
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
    if (this.options.loadStrategy === 'truncate') return TRUNCATES;
    const hasLayout = base ? layoutOf(base) === layoutOf(table) : here?.format === table.format && !mirror.alterations.has(table.name);
    if (!hasLayout) return ALTERED;
    if (!here?.intact || (base && (here.sha256 !== base.sha256 || here.rowCount !== base.rowCount))) return OTHER_ROWS;
    if (here.rowCount === 0) return 'it had no rows';
    return this.findRangeObstacle(client, table, local);
  }

  private async findRangeObstacle(client: pg.PoolClient, table: ManifestTable, local: CatalogTable): Promise<string | undefined> {
    const layout = layoutOf(table);
    const found = this.rangeObstacles.get(local);
    if (found?.layout === layout) return found.obstacle;
    const obstacle = await findRangeObstacle(client, keyedSource(table, local, false), local.oid);
    this.rangeObstacles.set(local, { layout, obstacle });
    return obstacle;
  }
}

const TRUNCATES = 'tables are emptied first (LOAD_STRATEGY)';
const ALTERED = 'its columns, key or format have changed';
const OTHER_ROWS = 'its rows are not those that the device held';
const NOT_NAMED = 'the manifest that the device holds does not name it, or is not kept';

/** The chunks that are stored, where they are those of a table with this hash. */
async function readTrusted(client: pg.ClientBase, table: ManifestTable, sha256: string): Promise<BorderedIndex | undefined> {
  const held = await readHeldChunks(client, table).catch((error: unknown) => {
    if (error instanceof WaypostError && error.code === 'CHUNK_CORRUPT') return undefined;
    throw error;
  });
  return held?.index.totals().sha256 === sha256 ? held : undefined;
}

/** What a row's canonical bytes depend on, besides its values. */
function layoutOf({ format, columns, key }: ManifestTable): string {
  return canonicalJson({ format, key, columns: columns.map(({ name, type }) => [name, type]) });
}

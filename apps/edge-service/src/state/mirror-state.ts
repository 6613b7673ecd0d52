import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { type Have, type Manifest, type ManifestTable, parseTableName, quoteTable } from '@waypost/contracts';
import type pg from 'pg';
import { Not, Repository } from 'typeorm';
import { KeptRowEntity } from '../database/entities/kept-row.entity.js';
import { MirrorTableEntity } from '../database/entities/mirror-table.entity.js';
import { SyncStateEntity } from '../database/entities/sync-state.entity.js';
import { FORGET_MIRROR_TABLES, KNOWN_TABLES, UPSERT_MIRROR_TABLES, UPSERT_STATE } from './state.sql.js';

/** What the device holds, as of the last manifest that was applied or confirmed. */
export interface AppliedState extends Have {
  manifestSha256: string;
  /** When the device's data was last found equal to a manifest. */
  verifiedAt: Date;
  /** Epochs that a later one replaced: central must not come back with them. */
  retiredEpochs: readonly string[];
}

/** A mirrored table when it was last hashed here. */
export interface KnownTable extends Pick<ManifestTable, 'sha256' | 'rowCount' | 'format'> {
  /** False when it was dropped, truncated or rewritten since: its hash says nothing any more. */
  intact: boolean;
}

/** By the manifest's name. */
export type KnownTables = ReadonlyMap<string, KnownTable>;

/** The key of the whole manifest: long, and of no use to the service itself. */
const MANIFEST = 'manifest';

/** waypost.edge_sync_state and edge_mirror_tables: written only in the transaction that makes them true. */
@Injectable()
export class MirrorState {
  constructor(
    @InjectRepository(SyncStateEntity) private readonly entries: Repository<SyncStateEntity>,
    @InjectRepository(MirrorTableEntity) private readonly tables: Repository<MirrorTableEntity>,
    @InjectRepository(KeptRowEntity) private readonly kept: Repository<KeptRowEntity>,
  ) {}

  async findApplied(): Promise<AppliedState | undefined> {
    const entries = new Map((await this.entries.findBy({ key: Not(MANIFEST) })).map(({ key, value }) => [key, value]));
    const get = (key: string): string => entries.get(key) ?? '';
    if (!entries.has('manifest_id')) return undefined;
    return {
      epoch: get('epoch'),
      sequence: Number(get('sequence')),
      manifestId: get('manifest_id'),
      manifestSha256: get('manifest_sha256'),
      verifiedAt: new Date(get('verified_at')),
      retiredEpochs: JSON.parse(get('retired_epochs')) as string[],
    };
  }

  async knownTables(): Promise<KnownTables> {
    const rows = await this.tables.query<(KnownTable & { name: string })[]>(KNOWN_TABLES);
    return new Map(rows.map((row) => [row.name, { ...row, rowCount: Number(row.rowCount) }]));
  }

  /** Rows that are beside the mirror because rows of the device's own reference them. */
  async countKept(): Promise<number> {
    return this.kept.count();
  }

  /**
   * Writes down, in the transaction under way, that the device holds what `manifest` says.
   * @param hashed the tables that were read back and hashed in this cycle
   */
  async record(
    client: pg.ClientBase,
    manifest: Manifest,
    before: AppliedState | undefined,
    hashed: readonly ManifestTable[],
  ): Promise<void> {
    const retired = [...(before?.retiredEpochs ?? [])];
    if (before && before.epoch !== manifest.epoch) retired.push(before.epoch);
    const entries = {
      epoch: manifest.epoch,
      sequence: String(manifest.sequence),
      manifest_id: manifest.manifestId,
      manifest_sha256: manifest.sha256,
      // With columns and keys: whoever hashes the tables anew needs no central for it.
      [MANIFEST]: JSON.stringify(manifest),
      verified_at: new Date().toISOString(),
      retired_epochs: JSON.stringify(retired),
    };
    await client.query(UPSERT_STATE, [Object.keys(entries), Object.values(entries)]);
    await client.query(FORGET_MIRROR_TABLES, [manifest.tables.map(({ name }) => name)]);
    await client.query(UPSERT_MIRROR_TABLES, [
      hashed.map(({ name }) => name),
      hashed.map(({ sha256 }) => sha256),
      hashed.map(({ rowCount }) => rowCount),
      hashed.map(({ format }) => format),
      hashed.map(({ name }) => quoteTable(parseTableName(name))),
      manifest.manifestId,
    ]);
  }
}

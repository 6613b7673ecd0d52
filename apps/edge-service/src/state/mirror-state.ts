import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { type Have, type Manifest, type ManifestTable, parseTableName, quoteTable } from '@waypost/contracts';
import type pg from 'pg';
import { Not, Repository } from 'typeorm';
import { RetainedRowEntity } from '../database/entities/retained-row.entity.js';
import { SyncStateEntity } from '../database/entities/sync-state.entity.js';
import type { CurrentChunks } from './held-chunks.js';
import { APPLIED_STATE, KNOWN_TABLES, READ_COVERAGE } from './state.sql.js';

/** A key that signed a manifest, by its name, and when, by central's clock. */
export interface SignedBy {
  kid: string;
  issuedAt: string;
}

/** What the device holds, as of the last manifest that was applied or confirmed. */
export interface AppliedState extends Have {
  manifestSha256: string;
  /** When the device's data was last found equal to a manifest. */
  verifiedAt: Date;
  /** Epochs that a later one replaced: central must not issue them again. */
  retiredEpochs: readonly string[];
  /** Who signed the manifest; absent where it was not verified. */
  signedBy?: SignedBy;
}

/** A mirrored table when it was last hashed here. */
export interface KnownTable extends Pick<ManifestTable, 'sha256' | 'rowCount' | 'format'> {
  /** False when it was dropped, truncated or rewritten since: its hash says nothing any more. */
  intact: boolean;
  /** Its chunks are stored. */
  hasChunks: boolean;
}

/** A scrub of all that the device holds. */
export interface LastScrub {
  id: string;
  trigger: string;
  startedAt: string;
  completedAt: string;
  tables: number;
  chunks: number;
  rows: number;
  /** Chunks whose rows were not those that were verified last. */
  driftedChunks: number;
  /** The cycle that put them right. */
  repairCycleId: string | null;
}

/** A row of READ_COVERAGE. */
export interface Coverage {
  /** Every row was read at least so long ago, or later; null where a table never was read as a whole. */
  wholeAgeMs: number | null;
  lastScrub: LastScrub | null;
}

/** By the manifest's name. */
export type KnownTables = ReadonlyMap<string, KnownTable>;

/** A row of KNOWN_TABLES. */
export type KnownTableRow = Omit<KnownTable, 'rowCount'> & { name: string; rowCount: number | string };

export function knownTablesOf(rows: readonly KnownTableRow[]): KnownTables {
  return new Map(rows.map((row) => [row.name, { ...row, rowCount: Number(row.rowCount) }]));
}

/** @param entries of waypost.edge_sync_state */
export function parseAppliedState(entries: Readonly<Record<string, string>> | null): AppliedState | undefined {
  if (entries?.['manifest_id'] === undefined) return undefined;
  // That of an earlier manifest may still be there.
  const [receiptOf, receipt] = entries['receipt']?.split(' ') ?? [];
  return {
    epoch: entries['epoch'] ?? '',
    sequence: Number(entries['sequence'] ?? ''),
    manifestId: entries['manifest_id'],
    ...(receiptOf === entries['manifest_id'] ? { receipt } : {}),
    manifestSha256: entries['manifest_sha256'] ?? '',
    verifiedAt: new Date(entries['verified_at'] ?? ''),
    retiredEpochs: JSON.parse(entries['retired_epochs'] ?? '') as string[],
    ...(entries['signed_by'] ? { signedBy: JSON.parse(entries['signed_by']) as SignedBy } : {}),
  };
}

/** What is applied, as the connection's transaction sees it. */
export async function readApplied(client: pg.ClientBase): Promise<AppliedState | undefined> {
  const { rows } = await client.query<{ entries: Record<string, string> | null }>(`SELECT (${APPLIED_STATE}) AS entries`);
  return parseAppliedState(rows[0]!.entries);
}

/** The key of the whole manifest, which is long: held-manifest.ts. */
const MANIFEST = 'manifest';

/** waypost.edge_sync_state and edge_mirror_tables: written only in the transaction that makes them true. */
@Injectable()
export class MirrorState {
  constructor(
    @InjectRepository(SyncStateEntity) private readonly entries: Repository<SyncStateEntity>,
    @InjectRepository(RetainedRowEntity) private readonly retained: Repository<RetainedRowEntity>,
  ) {}

  async findApplied(): Promise<AppliedState | undefined> {
    return parseAppliedState(Object.fromEntries((await this.entries.findBy({ key: Not(MANIFEST) })).map(({ key, value }) => [key, value])));
  }

  async knownTables(): Promise<KnownTables> {
    const rows = await this.entries.query<KnownTableRow[]>(KNOWN_TABLES);
    return knownTablesOf(rows);
  }

  /** How much of the mirror was read back, and when. */
  async readCoverage(): Promise<Coverage> {
    const [row] = await this.entries.query<[Coverage]>(READ_COVERAGE);
    return row;
  }

  /** Rows that are beside the mirror because rows of the device's own reference them. */
  async countRetained(): Promise<number> {
    return this.retained.count();
  }
}

interface Recorded {
  /** The tables that were read back and hashed in this cycle, by name: what the device holds of them is what the manifest says. */
  read: ReadonlyMap<string, CurrentChunks>;
  /** Who signed the manifest, where that is verified. */
  vouched: { signedBy: SignedBy; startsOrder: boolean } | undefined;
}

/** The parameters of recordState: the device holds what `manifest` says. */
export function stateParameters(manifest: Manifest, before: AppliedState | undefined, { read, vouched }: Recorded): unknown[] {
  const ordering = vouched?.startsOrder ? undefined : before;
  const retired = [...(ordering?.retiredEpochs ?? [])];
  if (ordering && ordering.epoch !== manifest.epoch) retired.push(ordering.epoch);
  const entries = {
    epoch: manifest.epoch,
    sequence: String(manifest.sequence),
    manifest_id: manifest.manifestId,
    manifest_sha256: manifest.sha256,
    // A later hashing of the tables needs no central for it, and central need not repeat it.
    [MANIFEST]: JSON.stringify(manifest),
    verified_at: new Date().toISOString(),
    retired_epochs: JSON.stringify(retired),
    signed_by: vouched ? JSON.stringify(vouched.signedBy) : '',
  };
  const hashed = manifest.tables.filter(({ name }) => read.has(name));
  return [
    Object.keys(entries),
    Object.values(entries),
    manifest.manifestId,
    manifest.tables.map(({ name }) => name),
    hashed.map(({ name }) => name),
    hashed.map(({ sha256 }) => sha256),
    hashed.map(({ rowCount }) => rowCount),
    hashed.map(({ format }) => format),
    hashed.map(({ name }) => quoteTable(parseTableName(name))),
    hashed.map(({ name }) => read.get(name)!.changed === undefined),
  ];
}

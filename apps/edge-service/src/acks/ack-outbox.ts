import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import {
  type Ack,
  type AckResponse,
  type DriftReport,
  type Manifest,
  type ManifestTable,
  MAX_DRIFTS_OF_ACK,
  MAX_KEY_CHARS,
  type WaypostError,
} from '@waypost/contracts';
import type pg from 'pg';
import { Repository } from 'typeorm';
import { AckEntity } from '../database/entities/ack.entity.js';
import { Metrics } from '../metrics/metrics.js';
import { Outbox } from '../outbox/outbox.js';
import { AckChannel, type PendingAck } from './ack-channel.js';
import { ACK_OPTIONS, type AckOptions } from './ack-options.js';
import { COUNT_ACKS, QUEUE_ACK, UNREPORTED_DRIFTS } from './acks.sql.js';

/** A row of COUNT_ACKS. */
export interface AckCounts {
  pending: number | string;
  refused: number | string;
}

/** ackSchema's limit. */
const MAX_ERROR_CHARS = 8192;

/** Acknowledgements wait in waypost.edge_acks until central has them: a cycle writes, any later cycle sends. Central accepts repeats. */
@Injectable()
export class AckOutbox {
  private readonly outbox: Outbox<PendingAck, AckResponse>;

  constructor(
    @Inject(ACK_OPTIONS) private readonly options: AckOptions,
    @InjectRepository(AckEntity) private readonly acks: Repository<AckEntity>,
    private readonly metrics: Metrics,
    channel: AckChannel,
  ) {
    this.outbox = new Outbox(channel);
  }

  /** In the transaction that makes the ack true. */
  async queueSuccess(client: pg.ClientBase, manifest: Manifest, durationMs: number): Promise<void> {
    const of = <T>(value: (table: ManifestTable) => T) => Object.fromEntries(manifest.tables.map((table) => [table.name, value(table)]));
    const ack: Ack = {
      manifestId: manifest.manifestId,
      mac: this.options.deviceMac,
      status: 'Success',
      localCounts: of(({ rowCount }) => rowCount),
      localChecksums: of(({ sha256 }) => sha256),
      durationMs,
      error: null,
      ...(await unreportedDrifts(client)),
    };
    await client.query(QUEUE_ACK, [ack.manifestId, ack.status, JSON.stringify(ack)]);
  }

  async queueFailure(manifestId: string, error: WaypostError, durationMs: number): Promise<void> {
    const ack: Ack = {
      manifestId,
      mac: this.options.deviceMac,
      status: 'Failed',
      localCounts: {},
      localChecksums: {},
      durationMs,
      error: `${error.code}: ${error.message}`.slice(0, MAX_ERROR_CHARS),
    };
    await this.acks.query(QUEUE_ACK, [ack.manifestId, ack.status, JSON.stringify(ack)]);
  }

  /** @returns how many are still pending: those that are left when central cannot be reached */
  async send(signal: AbortSignal): Promise<number> {
    await this.outbox.flush(signal);
    return this.countPending();
  }

  async countPending(): Promise<number> {
    const [row] = await this.acks.query<[AckCounts]>(COUNT_ACKS);
    return this.counted(row);
  }

  /** @returns how many are pending */
  counted({ pending, refused }: AckCounts): number {
    this.metrics.pendingAcks.set(Number(pending));
    this.metrics.refusedAcks.set(Number(refused));
    return Number(pending);
  }
}

/** What was found on the device since the last ack that central has. */
async function unreportedDrifts(client: pg.ClientBase): Promise<Pick<Ack, 'drifts'>> {
  type Row = Omit<DriftReport, 'foundAt'> & { foundAt: Date };
  const { rows } = await client.query<Row>(UNREPORTED_DRIFTS, [MAX_DRIFTS_OF_ACK, MAX_KEY_CHARS]);
  return rows.length > 0 ? { drifts: rows.map((row) => ({ ...row, foundAt: row.foundAt.toISOString() })) } : {};
}

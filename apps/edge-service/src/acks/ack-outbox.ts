import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import {
  type Ack,
  type AckResponse,
  type DriftReport,
  type Manifest,
  type ManifestTable,
  type ReceiptTable,
  type WaypostError,
} from '@waypost/contracts';
import { queryOn, queryPrepared } from '@waypost/runtime';
import type pg from 'pg';
import { Repository } from 'typeorm';
import { AckEntity } from '../database/entities/ack.entity.js';
import { Outbox } from '../outbox/outbox.js';
import { AckChannel, type AckCounts, type PendingAck } from './ack-channel.js';
import { ACK_OPTIONS, type AckOptions } from './ack-options.js';
import { COUNT_ACKS, QUEUE_ACK } from './acks.sql.js';
import { Receipts } from './receipts.js';

interface Success {
  manifest: Manifest;
  durationMs: number;
  /** What was found on the device since the last ack that central has. */
  drifts: readonly DriftReport[];
  /** By table: what of it was read back for this ack. */
  read: (table: string) => ReceiptTable['read'];
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
    private readonly channel: AckChannel,
    private readonly receipts: Receipts,
  ) {
    this.outbox = new Outbox(channel);
  }

  /** In the transaction that makes the ack true. */
  async queueSuccess(client: pg.ClientBase, { manifest, durationMs, drifts, read }: Success): Promise<void> {
    const of = <T>(value: (table: ManifestTable) => T) => Object.fromEntries(manifest.tables.map((table) => [table.name, value(table)]));
    const ack: Ack = {
      manifestId: manifest.manifestId,
      mac: this.options.deviceMac,
      status: 'Success',
      localCounts: of(({ rowCount }) => rowCount),
      localChecksums: of(({ sha256 }) => sha256),
      durationMs,
      error: null,
      ...(drifts.length > 0 && { drifts: drifts.map((drift) => ({ ...drift, foundAt: new Date(drift.foundAt).toISOString() })) }),
    };
    const receipt = await this.receipts.add(queryOn(client), {
      manifestId: manifest.manifestId,
      manifestSha256: manifest.sha256,
      result: 'Success',
      error: null,
      tables: manifest.tables.map(({ name, rowCount, sha256 }) => ({ name, rowCount, sha256, read: read(name) })),
      durationMs,
    });
    await queryPrepared(client, 'queue-ack', QUEUE_ACK, [ack.manifestId, ack.status, JSON.stringify(ack), receipt]);
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
    await this.acks.manager.transaction(async (manager) => {
      const content = { manifestId, manifestSha256: null, result: 'Failed', error: error.code, durationMs } as const;
      const receipt = await this.receipts.add((text, values) => manager.query(text, values), { ...content, tables: [] });
      await manager.query(QUEUE_ACK, [ack.manifestId, ack.status, JSON.stringify(ack), receipt]);
    });
  }

  /** @returns the one that is sent next, and how many are pending */
  async findNext(): Promise<{ next: PendingAck | undefined; pending: number }> {
    const next = await this.channel.findNext();
    return { next, pending: this.channel.pending };
  }

  /** @returns how many are still pending: those that are left when central cannot be reached */
  async send(next: PendingAck, signal: AbortSignal): Promise<number> {
    await this.outbox.flush(next, signal);
    return this.channel.pending;
  }

  async countPending(): Promise<number> {
    const [row] = await this.acks.query<[AckCounts]>(COUNT_ACKS);
    return this.counted(row);
  }

  /** @returns how many are pending */
  counted(counts: AckCounts): number {
    return this.channel.counted(counts);
  }
}

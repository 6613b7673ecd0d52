import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import type { Ack, AckResponse, ErrorCode, SignedReceipt, WaypostError } from '@waypost/contracts';
import { faultPoint, LOGGER, SpanKind, traced, withContext } from '@waypost/runtime';
import type { Logger } from 'pino';
import { Repository } from 'typeorm';
import { CentralCircuit } from '../central/central-circuit.js';
import { CentralClient } from '../central/central-client.js';
import { refusalCode } from '../central/central-errors.js';
import { AckEntity } from '../database/entities/ack.entity.js';
import { Metrics } from '../metrics/metrics.js';
import type { OutboxChannel } from '../outbox/outbox.js';
import { DELETE_SENT, NEXT_ACK, REFUSE_RECEIPTS } from './acks.sql.js';

export interface PendingAck {
  manifestId: string;
  status: Ack['status'];
  body: Ack;
  createdAt: string;
  /** What the device signed for it, last, and before it what central does not have yet. */
  receipts: SignedReceipt[] | null;
}

/** A row of COUNT_ACKS. */
export interface AckCounts {
  pending: number | string;
  refused: number | string;
}

/** The row of NEXT_ACK: nulls where nothing waits. */
type NextAck = AckCounts & (PendingAck | Record<keyof PendingAck, null>);

/** How acknowledgements are read, sent and settled. */
@Injectable()
export class AckChannel implements OutboxChannel<PendingAck, AckResponse> {
  /** How many waited when they were counted last. */
  pending = 0;
  readonly finalCodes: readonly ErrorCode[] = [
    'MANIFEST_UNKNOWN',
    'MANIFEST_NOT_YOURS',
    'REQUEST_INVALID',
    'REQUEST_TOO_LARGE',
    'MAC_INVALID',
    'RECEIPT_INVALID',
  ];

  constructor(
    @InjectRepository(AckEntity) private readonly acks: Repository<AckEntity>,
    private readonly client: CentralClient,
    private readonly circuit: CentralCircuit,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly metrics: Metrics,
  ) {}

  async findNext(): Promise<PendingAck | undefined> {
    return this.nextOf(await this.acks.query<[NextAck]>(NEXT_ACK));
  }

  /** @returns how many are pending */
  counted({ pending, refused }: AckCounts): number {
    this.pending = Number(pending);
    this.metrics.pendingAcks.set(this.pending);
    this.metrics.refusedAcks.set(Number(refused));
    return this.pending;
  }

  async send({ manifestId, status, body, receipts }: PendingAck, signal: AbortSignal): Promise<AckResponse> {
    // An ack that waited is of another manifest than the cycle that sends it.
    return withContext({ manifestId }, () =>
      traced('ack', { kind: SpanKind.CLIENT, attributes: { 'waypost.status': status } }, () =>
        this.circuit.run(() => this.client.sendAck(receipts ? { ...body, receipts } : body, signal), signal),
      ),
    );
  }

  async markSent(
    { manifestId, status, createdAt }: PendingAck,
    { result, duplicate, reason, receipt }: AckResponse,
  ): Promise<PendingAck | undefined> {
    await faultPoint('edge.ack-answered');
    const next = this.nextOf(await this.acks.query<[NextAck]>(DELETE_SENT, [manifestId, status, createdAt, receipt ?? null]));
    await faultPoint('edge.ack-removed');
    const facts = { manifestId, status, result, duplicate, reason };
    if (result === status) this.logger.info(facts, 'ack sent');
    else this.logger.error(facts, 'central counts the cycle as failed');
    return next;
  }

  async markUnsent({ manifestId, status }: PendingAck, error: WaypostError, isFinal: boolean): Promise<void> {
    // The next ack must not carry what this one was refused for.
    if (isFinal && refusalCode(error) === 'RECEIPT_INVALID') await this.acks.query(REFUSE_RECEIPTS, [manifestId, status]);
    await this.acks.update(
      { manifestId, status },
      {
        attempts: () => 'attempts + 1',
        lastError: `${error.code}: ${error.message}`,
        refusedAt: isFinal ? () => 'clock_timestamp()' : null,
      },
    );
    const facts = { err: error, manifestId, status, final: isFinal };
    this.logger.warn(facts, isFinal ? 'ack refused by central, set aside' : 'ack not sent, kept');
  }

  private nextOf([next]: [NextAck]): PendingAck | undefined {
    this.counted(next);
    return next.manifestId === null ? undefined : next;
  }
}

import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import type { Ack, AckResponse, ErrorCode, WaypostError } from '@waypost/contracts';
import { faultPoint, LOGGER, SpanKind, traced, withContext } from '@waypost/runtime';
import type { Logger } from 'pino';
import { Repository } from 'typeorm';
import { CentralCircuit } from '../central/central-circuit.js';
import { CentralClient } from '../central/central-client.js';
import { AckEntity } from '../database/entities/ack.entity.js';
import type { OutboxChannel } from '../outbox/outbox.js';
import { DELETE_SENT, NEXT_ACK } from './acks.sql.js';

/** A row of NEXT_ACK. */
export interface PendingAck {
  manifestId: string;
  status: Ack['status'];
  body: Ack;
  createdAt: string;
}

/** How acknowledgements are read, sent and settled. */
@Injectable()
export class AckChannel implements OutboxChannel<PendingAck, AckResponse> {
  readonly finalCodes: readonly ErrorCode[] = [
    'MANIFEST_UNKNOWN',
    'MANIFEST_NOT_YOURS',
    'REQUEST_INVALID',
    'REQUEST_TOO_LARGE',
    'MAC_INVALID',
  ];

  constructor(
    @InjectRepository(AckEntity) private readonly acks: Repository<AckEntity>,
    private readonly client: CentralClient,
    private readonly circuit: CentralCircuit,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  async findNext(): Promise<PendingAck | undefined> {
    const [next] = await this.acks.query<PendingAck[]>(NEXT_ACK);
    return next;
  }

  async send({ manifestId, status, body }: PendingAck, signal: AbortSignal): Promise<AckResponse> {
    // An ack that waited is of another manifest than the cycle that sends it.
    return withContext({ manifestId }, () =>
      traced('ack', { kind: SpanKind.CLIENT, attributes: { 'waypost.status': status } }, () =>
        this.circuit.run(() => this.client.sendAck(body, signal), signal),
      ),
    );
  }

  async markSent({ manifestId, status, createdAt }: PendingAck, { result, duplicate, reason, receipt }: AckResponse): Promise<void> {
    await faultPoint('edge.ack-answered');
    await this.acks.query(DELETE_SENT, [manifestId, status, createdAt, receipt ?? null]);
    await faultPoint('edge.ack-removed');
    const facts = { manifestId, status, result, duplicate, reason };
    if (result === status) this.logger.info(facts, 'ack sent');
    else this.logger.error(facts, 'central counts the cycle as failed');
  }

  async markUnsent({ manifestId, status }: PendingAck, error: WaypostError, isFinal: boolean): Promise<void> {
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
}

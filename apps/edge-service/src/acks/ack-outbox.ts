import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { type Ack, type ErrorCode, type Manifest, type ManifestTable, WaypostError } from '@waypost/contracts';
import { faultPoint, LOGGER, SpanKind, traced, withContext } from '@waypost/runtime';
import type pg from 'pg';
import type { Logger } from 'pino';
import { Repository } from 'typeorm';
import { CentralCircuit } from '../central/central-circuit.js';
import { CentralClient } from '../central/central-client.js';
import { RefusedAnswer } from '../central/central-errors.js';
import { AckEntity } from '../database/entities/ack.entity.js';
import { Metrics } from '../metrics/metrics.js';
import { ACK_OPTIONS, type AckOptions } from './ack-options.js';
import { COUNT_ACKS, DELETE_SENT, MARK_UNSENT, PENDING_ACKS, QUEUE_ACK } from './acks.sql.js';

interface PendingAck {
  manifestId: string;
  status: Ack['status'];
  body: Ack;
  createdAt: string;
}

/** A row of COUNT_ACKS. */
export interface AckCounts {
  pending: number | string;
  refused: number | string;
}

/** ackSchema's limit. */
const MAX_ERROR_CHARS = 8192;

/** Acknowledgements wait in waypost.edge_acks until central has them: a cycle writes, any later cycle sends. Central takes repeats well. */
@Injectable()
export class AckOutbox {
  constructor(
    @Inject(ACK_OPTIONS) private readonly options: AckOptions,
    @InjectRepository(AckEntity) private readonly acks: Repository<AckEntity>,
    private readonly client: CentralClient,
    private readonly circuit: CentralCircuit,
    private readonly metrics: Metrics,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

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

  /**
   * Sends what is pending, oldest first. One that central refuses for good is set aside and does not hold up the others; when central
   * cannot be reached, the rest stays. Never throws for central's sake.
   * @returns how many are still pending
   */
  async send(signal: AbortSignal): Promise<number> {
    const pending = await this.acks.query<PendingAck[]>(PENDING_ACKS);
    for (const ack of pending) {
      if (!(await this.sendOne(ack, signal))) break;
    }
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

  /** @returns false when it makes no sense to go on with the next */
  private async sendOne(ack: PendingAck, signal: AbortSignal): Promise<boolean> {
    // An ack that waited is of another manifest than the cycle that sends it.
    return withContext({ manifestId: ack.manifestId }, () => this.sendNow(ack, signal));
  }

  private async sendNow({ manifestId, status, body, createdAt }: PendingAck, signal: AbortSignal): Promise<boolean> {
    try {
      const { receipt, ...answer } = await traced('ack', { kind: SpanKind.CLIENT, attributes: { 'waypost.status': status } }, () =>
        this.circuit.run(() => this.client.sendAck(body, signal), signal),
      );
      await faultPoint('edge.ack-answered');
      await this.acks.query(DELETE_SENT, [manifestId, status, createdAt, receipt ?? null]);
      await faultPoint('edge.ack-removed');
      const facts = { manifestId, status, result: answer.result, duplicate: answer.duplicate, reason: answer.reason };
      if (answer.result === status) this.logger.info(facts, 'ack sent');
      else this.logger.error(facts, 'central counts the cycle as failed');
      return true;
    } catch (error) {
      if (!(error instanceof WaypostError)) throw error;
      if (error.code === 'SHUTTING_DOWN') return false;
      const final = isFinal(error);
      await this.acks.query(MARK_UNSENT, [manifestId, status, `${error.code}: ${error.message}`, final]);
      this.logger.warn({ err: error, manifestId, status, final }, final ? 'ack refused by central, set aside' : 'ack not sent, kept');
      return final;
    }
  }
}

/** What central says of the ack itself, and will say again. */
const FINAL: ReadonlySet<string> = new Set<ErrorCode>([
  'MANIFEST_UNKNOWN',
  'MANIFEST_NOT_YOURS',
  'REQUEST_INVALID',
  'REQUEST_TOO_LARGE',
  'MAC_INVALID',
]);

/** Anything else, such as the 404 of a proxy, a captive portal or a mistyped CENTRAL_URL, passes, and the ack is kept until then. */
function isFinal(error: WaypostError): boolean {
  return error.cause instanceof RefusedAnswer && error.cause.status < 500 && FINAL.has(error.cause.code ?? '');
}

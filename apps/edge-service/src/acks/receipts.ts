import { Inject, Injectable } from '@nestjs/common';
import { type Receipt, receiptSha256, signReceipt, WaypostError } from '@waypost/contracts';
import { LOGGER, type Query } from '@waypost/runtime';
import type { Logger } from 'pino';
import { type Identity, IdentityFiles } from '../identity/identity-files.js';
import { thumbprintOf } from '../identity/sign.js';
import { ACK_OPTIONS, type AckOptions } from './ack-options.js';
import { ADD_RECEIPT, LAST_RECEIPT } from './acks.sql.js';

/** What a receipt says, beside who signs it and its place. */
export type ReceiptContent = Pick<Receipt, 'manifestId' | 'manifestSha256' | 'result' | 'error' | 'tables'> & { durationMs: number };

/** Signs a receipt for each ack, once the device has enrolled. */
@Injectable()
export class Receipts {
  constructor(
    @Inject(ACK_OPTIONS) private readonly options: AckOptions,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly files: IdentityFiles,
  ) {}

  /**
   * Makes the next receipt of the key that the device uses. To be called in the transaction that queues its ack, by the holder of the cycle lock: so no
   * number is used twice, and none is left out.
   * @returns its id; null for a device that has not enrolled
   */
  async add(query: Query, { durationMs, ...content }: ReceiptContent): Promise<string | null> {
    const identity = await this.findIdentity();
    if (!identity) return null;
    const { privateKey, deviceId, fleet } = identity;
    const key = thumbprintOf(privateKey);
    const [last] = await query<{ sequence: number; sha256: string }>(LAST_RECEIPT, [key]);
    const completedAt = Date.now();
    const receipt: Receipt = {
      version: 1,
      fleet,
      device: deviceId,
      mac: this.options.deviceMac,
      key,
      sequence: (last?.sequence ?? 0) + 1,
      previous: last?.sha256 ?? null,
      ...content,
      startedAt: new Date(completedAt - durationMs).toISOString(),
      completedAt: new Date(completedAt).toISOString(),
    };
    const { body, signature } = signReceipt(receipt, privateKey);
    const [added] = await query<{ id: string }>(ADD_RECEIPT, [key, receipt.sequence, receiptSha256(body), body, signature]);
    return added?.id ?? null;
  }

  /** Without the key there is no receipt; the ack is made all the same. */
  private async findIdentity(): Promise<Identity | undefined> {
    try {
      return await this.files.identity();
    } catch (err) {
      if (!(err instanceof WaypostError)) throw err;
      this.logger.warn({ err }, 'the ack gets no receipt: the device’s key cannot be read');
      return undefined;
    }
  }
}

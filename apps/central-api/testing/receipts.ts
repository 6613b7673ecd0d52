import { type Ack, type Manifest, type Receipt, receiptSha256, type SignedReceipt, signReceipt } from '@waypost/contracts';
import type { DeviceClient } from './device-client.js';
import { successOf } from './messages.js';

/** Makes the receipts of one device key, one after another, as a device does. */
export class ReceiptMaker {
  private sequence = 0;
  private previous: string | null = null;

  constructor(private readonly device: DeviceClient) {}

  /** @param change what is different in this one */
  next(manifest: Manifest, change: Partial<Receipt> = {}): SignedReceipt {
    const { deviceId, fleet } = this.device.enrolled as NonNullable<DeviceClient['enrolled']>;
    const receipt: Receipt = {
      version: 1,
      fleet,
      device: deviceId,
      mac: this.device.mac,
      key: this.device.thumbprint,
      sequence: this.sequence + 1,
      previous: this.previous,
      manifestId: manifest.manifestId,
      manifestSha256: manifest.sha256,
      result: 'Success',
      error: null,
      tables: manifest.tables.map(({ name, rowCount, sha256 }) => ({ name, rowCount, sha256, read: 'whole' })),
      startedAt: '2026-01-01T00:00:00.000Z',
      completedAt: '2026-01-01T00:00:01.000Z',
      ...change,
    };
    const signed = signReceipt(receipt, this.device.privateKey);
    this.sequence = receipt.sequence;
    this.previous = receiptSha256(signed.body);
    return signed;
  }

  /** The ack of a success, with a receipt for it. */
  ack(manifest: Manifest, change: Partial<Receipt> = {}): Ack {
    return successOf(manifest, { receipts: [this.next(manifest, change)] });
  }
}

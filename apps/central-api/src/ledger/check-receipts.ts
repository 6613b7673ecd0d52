import type { KeyObject } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { type Ack, type Manifest, parseReceipt, type Receipt, type SignedReceipt, verifiesReceipt, WaypostError } from '@waypost/contracts';
import { queryPrepared, withClient } from '@waypost/runtime';
import { LRUCache } from 'lru-cache';
import type pg from 'pg';
import { IDENTITY_POOL } from '../database/pools.js';
import { publicKeyOf } from '../identity/ed25519.js';
import { FIND_RECEIPT_KEYS } from './ledger.sql.js';
import { LedgerKeys } from './ledger-keys.js';

interface ReceiptKey {
  publicKey: KeyObject;
  deviceId: string;
}

/** A key stays that of its device for ever, so it need not be looked up again. */
const MAX_KEYS = 20_000;

/** Judges the receipts of an ack before anything is stored. */
@Injectable()
export class CheckReceipts {
  private readonly keys = new LRUCache<string, ReceiptKey>({ max: MAX_KEYS });

  constructor(
    @Inject(IDENTITY_POOL) private readonly pool: pg.Pool,
    private readonly ledgerKeys: LedgerKeys,
  ) {}

  /**
   * All of them were signed by keys of this device, for this fleet; the last says what the ack says.
   * @param deviceId undefined for a device that has not enrolled
   * @throws WaypostError RECEIPT_INVALID
   */
  async run(ack: Ack, deviceId: string | undefined, { sha256 }: Manifest): Promise<readonly SignedReceipt[]> {
    const { receipts = [] } = ack;
    if (receipts.length === 0) return receipts;
    const contents = receipts.map(({ body }) => parseReceipt(body));
    const fleet = await this.ledgerKeys.fleet();
    const keys = await this.find([...new Set(contents.map(({ key }) => key))]);
    for (const [at, receipt] of contents.entries()) {
      const key = keys.get(receipt.key);
      if (receipt.fleet !== fleet) throw refused(receipt, `is of the fleet ${receipt.fleet}, not of this one`);
      if (deviceId === undefined || receipt.device !== deviceId)
        throw refused(receipt, `is of the device ${receipt.device}, not of its sender`);
      if (key?.deviceId !== deviceId) throw refused(receipt, `names the key ${receipt.key}, which is none of its device`);
      if (!verifiesReceipt(receipts[at] as SignedReceipt, key.publicKey))
        throw refused(receipt, 'has a signature that its key did not make');
    }
    const own = contents.at(-1) as Receipt;
    const difference = findDifference(own, ack, sha256);
    if (difference !== undefined) throw refused(own, difference);
    return receipts;
  }

  private async find(thumbprints: readonly string[]): Promise<Map<string, ReceiptKey>> {
    const unknown = thumbprints.filter((thumbprint) => !this.keys.has(thumbprint));
    if (unknown.length > 0) {
      const rows = await withClient(this.pool, (client) =>
        queryPrepared<{ thumbprint: string; publicKey: Buffer; deviceId: string }>(client, 'receipt keys', FIND_RECEIPT_KEYS, [unknown]),
      );
      for (const { thumbprint, publicKey, deviceId } of rows) this.keys.set(thumbprint, { publicKey: publicKeyOf(publicKey), deviceId });
    }
    return new Map(
      thumbprints.flatMap((thumbprint) => (this.keys.has(thumbprint) ? [[thumbprint, this.keys.get(thumbprint) as ReceiptKey]] : [])),
    );
  }
}

/** What a receipt says otherwise than the ack that carries it. */
function findDifference(receipt: Receipt, ack: Ack, manifestSha256: string): string | undefined {
  if (receipt.mac !== ack.mac) return `is of the MAC ${receipt.mac}, unlike its ack`;
  if (receipt.manifestId !== ack.manifestId) return `is of the manifest ${receipt.manifestId}, unlike its ack`;
  if (receipt.result !== ack.status) return `says ${receipt.result}, unlike its ack`;
  const hashes = receipt.result === 'Success' ? [manifestSha256] : [manifestSha256, null];
  // A device that applied another manifest than central issued under this id.
  if (!hashes.includes(receipt.manifestSha256)) return 'names another SHA-256 of the manifest';
  const counts = Object.entries(ack.localCounts);
  const isEqual =
    counts.length === receipt.tables.length &&
    Object.keys(ack.localChecksums).length === receipt.tables.length &&
    receipt.tables.every(
      ({ name, rowCount, sha256 }) =>
        Object.hasOwn(ack.localCounts, name) && ack.localCounts[name] === rowCount && ack.localChecksums[name] === sha256,
    );
  return isEqual ? undefined : 'has other counts or hashes than its ack';
}

function refused({ sequence, key }: Receipt, why: string): WaypostError {
  return new WaypostError('RECEIPT_INVALID', { detail: `Receipt ${sequence} of the key ${key} ${why}.` });
}

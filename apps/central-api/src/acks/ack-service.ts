import { Inject, Injectable } from '@nestjs/common';
import { type Ack, type AckResponse, canonicalJson, type Manifest, sha256Hex } from '@waypost/contracts';
import { describeSpan, faultPoint, LOGGER } from '@waypost/runtime';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { ACK_FAILURE, ACK_SUCCESS, STORE_DRIFTS } from './acks.sql.js';
import { SyncMetrics } from '../metrics/sync-metrics.js';
import { getManifest } from '../manifests/find-manifest.js';
import { receiptOf } from '../epochs/receipts.js';
import { CheckReceipts } from '../ledger/check-receipts.js';
import { LedgerAppender } from '../ledger/ledger-appender.js';

/** A row of ACK_SUCCESS or ACK_FAILURE. */
interface Stored {
  /** Null where the acknowledgement was there already. */
  id: string | null;
  key?: Buffer | null;
  isKnown?: boolean;
}

/** Compares acknowledgements with their manifests and keeps them. */
@Injectable()
export class AckService {
  constructor(
    private readonly dataSource: DataSource,
    private readonly metrics: SyncMetrics,
    private readonly checkReceipts: CheckReceipts,
    private readonly ledger: LedgerAppender,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * Idempotent: the same ack again, or a second success for one manifest, changes nothing. Acks of expired manifests are taken:
   * a device that was offline still tells what it did. Of one manifest only some failures an hour are stored, of one device only some drifts of the
   * manifest's tables; the others are answered, failures counted. The statement that stores the ack queues its receipts for the ledger.
   * @param message with its MAC normalized
   * @param deviceId of an enrolled device
   * @throws WaypostError MANIFEST_UNKNOWN, MANIFEST_NOT_YOURS, RECEIPT_INVALID
   */
  async store(message: Ack, deviceId?: string): Promise<AckResponse> {
    await faultPoint('central.ack-received');
    const { manager } = this.dataSource;
    const { receipts: _, ...ack } = message;
    const manifest = await getManifest(manager, ack.manifestId, ack.mac);
    const receipts = await this.checkReceipts.run(message, deviceId, manifest);
    const queued = [deviceId ?? null, receipts.map(({ body }) => body), receipts.map(({ signature }) => signature)];
    const reason = findDifference(ack, manifest) ?? (ack.status === 'Failed' ? (ack.error ?? 'The device gave no reason.') : null);
    const result = reason === null ? 'Success' : 'Failed';
    // Names that the manifest does not have are in the reason, and nowhere else.
    const localCounts = ofManifest(ack.localCounts, manifest);
    const localChecksums = ofManifest(ack.localChecksums, manifest);
    const row = [
      ack.manifestId,
      ack.mac,
      result,
      ack.status,
      ack.durationMs,
      localCounts,
      localChecksums,
      reason,
      sha256Hex(canonicalJson({ ...ack, localCounts, localChecksums })),
    ];
    const [stored] =
      result === 'Success'
        ? await manager.query<Stored[]>(ACK_SUCCESS, [...row, manifest.sequence, manifest.epoch, ...queued])
        : await manager.query<Stored[]>(ACK_FAILURE, [...row, failureCode(ack), ...queued]);
    if (receipts.length > 0) this.ledger.wake();
    await this.storeDrifts(ack, manifest);
    await faultPoint('central.ack-stored');
    const duplicate = result === 'Success' ? !stored?.id : stored?.isKnown === true;
    const facts = {
      mac: ack.mac,
      manifestId: ack.manifestId,
      result,
      reportedStatus: ack.status,
      reason,
      durationMs: ack.durationMs,
      duplicate,
    };
    if (result === 'Success') this.logger.info(facts, 'ack stored');
    else this.logger.error(facts, 'a device failed to sync');
    describeSpan({ 'waypost.status': result, 'waypost.duplicate': duplicate });
    if (!duplicate) this.metrics.acknowledged(result);
    const receipt = stored?.key ? { receipt: receiptOf(stored.key, { ...manifest, mac: ack.mac }) } : {};
    return { manifestId: ack.manifestId, result, reason, duplicate, ...receipt };
  }

  private async storeDrifts({ mac, manifestId, drifts: reported = [] }: Ack, { tables }: Manifest): Promise<void> {
    const drifts = reported.filter(({ table }) => tables.some(({ name }) => name === table));
    if (drifts.length === 0) return;
    const columns = (['table', 'chunks', 'firstKey', 'lastKey', 'foundAt'] as const).map((name) => drifts.map((drift) => drift[name]));
    const [stored] = await this.dataSource.manager.query<[{ chunks: number }]>(STORE_DRIFTS, [mac, manifestId, ...columns]);
    if (stored.chunks === 0) return;
    this.metrics.drifted(stored.chunks);
    this.logger.warn({ mac, manifestId, chunks: stored.chunks, drifts }, 'a device found rows that were altered there, and put them right');
  }
}

/** Names of tables that the manifest does not have, in a reason. */
const MAX_STRANGERS = 10;

/** Edges begin the text with it. A device that speaks of success was found wrong here. */
function failureCode({ status, error }: Ack): string {
  if (status === 'Success') return 'VERIFICATION_FAILED';
  return /^([A-Z][A-Z_]+): /.exec(error ?? '')?.[1]?.slice(0, 64) ?? 'UNKNOWN';
}

/**
 * What an ack says otherwise than the manifest. A success must give count and hash of each table; a failure may leave out tables that it
 * did not come to, and its own account of the failure says more than theirs.
 */
function findDifference(ack: Ack, manifest: Manifest): string | undefined {
  if (ack.status === 'Failed' && ack.error) return undefined;
  const differences: string[] = [];
  for (const { name, rowCount, sha256 } of manifest.tables) {
    const count = ownValue(ack.localCounts, name);
    const checksum = ownValue(ack.localChecksums, name);
    const mayBeMissing = ack.status === 'Failed';
    if (count !== rowCount && !(mayBeMissing && count === undefined))
      differences.push(`${name}: ${count ?? 'no'} rows instead of ${rowCount}`);
    if (checksum !== sha256 && !(mayBeMissing && checksum === undefined))
      differences.push(`${name}: sha256 ${checksum ?? 'missing'} instead of ${sha256}`);
  }
  const known = new Set(manifest.tables.map((table) => table.name));
  const strangers = [...new Set([...Object.keys(ack.localCounts), ...Object.keys(ack.localChecksums)])].filter((name) => !known.has(name));
  if (strangers.length > 0) {
    const more = strangers.length > MAX_STRANGERS ? ` and ${strangers.length - MAX_STRANGERS} more` : '';
    differences.push(`not in the manifest: ${strangers.slice(0, MAX_STRANGERS).join(', ')}${more}`);
  }
  return differences.length > 0 ? differences.join('; ').slice(0, 8192) : undefined;
}

function ownValue<T>(record: Record<string, T>, key: string): T | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

/** What it says of the manifest's tables. */
function ofManifest<T>(record: Record<string, T>, { tables }: Manifest): Record<string, T> {
  return Object.fromEntries(tables.flatMap(({ name }) => (Object.hasOwn(record, name) ? [[name, record[name] as T]] : [])));
}

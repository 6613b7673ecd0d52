import {
  findInclusionFault,
  Frontier,
  leafHash,
  type LedgerEntry,
  openManifest,
  parseEntry,
  parseReceipt,
  type PollsEntry,
  type Receipt,
  type ReceiptEntry,
  verifiesReceipt,
  verifyCheckpoint,
  WaypostError,
} from '@waypost/contracts';
import type { Query } from '@waypost/runtime';
import type { KeyObject } from 'node:crypto';
import { publicKeyOf } from '../identity/ed25519.js';
import { ackRowSha256 } from '../ledger/append-entries.js';
import { readLedgerKeys } from '../trust/read-ledger-keys.js';
import { LedgerTree, type StoredCheckpoint } from '../ledger/ledger-tree.js';
import {
  COUNT_AUDITED_POLLS,
  READ_ACK_FACTS,
  READ_AUDITED_MANIFESTS,
  READ_CHECKPOINTS,
  READ_DEVICE_KEYS,
  READ_ENTRIES,
} from './ledger.sql.js';

/** What does not agree, and where. */
export interface LedgerFinding {
  /** `entry 17`, `checkpoint 300`, `acknowledgement 5`, `manifest 01J…`, `polls of …`. */
  place: string;
  finding: string;
}

export interface LedgerReport {
  size: number;
  /** Base64; null for a ledger without entries. */
  root: string | null;
  entries: number;
  receipts: number;
  checkpoints: number;
  findings: LedgerFinding[];
}

export interface VerifyOptions {
  /** One device's entries alone. */
  deviceId: string | undefined;
  /** Rows of the audit that are older may have been pruned. */
  retentionMs: number;
}

interface EntryRow {
  index: number;
  deviceId: string;
  entry: string;
}

const BATCH = 2000;
const MAX_FINDINGS = 1000;
const ULID_DIGITS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/**
 * Verifies the ledger from what the database has: entries against the tree, the tree against every checkpoint, receipts against the keys of their devices,
 * and the audit against the receipts. Of one device, only its entries are read, and each is shown to be in the tree of the newest checkpoint.
 */
export async function verifyLedger(query: Query, options: VerifyOptions): Promise<LedgerReport> {
  return new LedgerVerification(query, options).run();
}

class LedgerVerification {
  private readonly report: LedgerReport = { size: 0, root: null, entries: 0, receipts: 0, checkpoints: 0, findings: [] };
  private readonly tree: LedgerTree;
  private readonly keys = new Map<string, ReadonlyMap<string, KeyObject>>();
  private readonly frontier = Frontier.empty();
  private checkpoints: StoredCheckpoint[] = [];

  constructor(
    private readonly query: Query,
    private readonly options: VerifyOptions,
  ) {
    this.tree = new LedgerTree(query);
  }

  async run(): Promise<LedgerReport> {
    const { deviceId } = this.options;
    const newest = await this.readCheckpoints();
    const size = newest?.size ?? 0;
    this.report.size = size;
    this.report.root = newest?.root.toString('base64') ?? null;
    for (let from = 0; from < size && this.report.findings.length < MAX_FINDINGS;) {
      const rows = await this.query<EntryRow>(READ_ENTRIES, [from, BATCH, deviceId ?? null, null, null]);
      const batch = rows.filter(({ index }) => index < size);
      const until = rows.length < BATCH ? size : (rows.at(-1) as EntryRow).index + 1;
      if (newest) await (deviceId === undefined ? this.checkTree(batch, from, until) : this.checkInclusion(batch, newest));
      await this.checkEntries(batch);
      from = until;
    }
    return this.report;
  }

  /** @returns the newest one */
  private async readCheckpoints(): Promise<StoredCheckpoint | undefined> {
    const { origin, verifiers } = await readLedgerKeys(this.query);
    this.checkpoints = await this.query<StoredCheckpoint>(READ_CHECKPOINTS);
    this.report.checkpoints = this.checkpoints.length;
    for (const { size, root, note } of this.checkpoints) {
      try {
        const signed = verifyCheckpoint(note, { origin, keys: verifiers });
        if (signed.size !== size || !signed.root.equals(root)) this.add(`checkpoint ${size}`, 'its note says another size or root');
      } catch (error) {
        if (!(error instanceof WaypostError)) throw error;
        this.add(`checkpoint ${size}`, error.message);
      }
    }
    return this.checkpoints.at(-1);
  }

  /** Makes the tree again from the entries; where one is gone or altered, it is named, and the tree goes on with the hash that was stored. */
  private async checkTree(rows: readonly EntryRow[], from: number, until: number): Promise<void> {
    const entries = new Map(rows.map((row) => [row.index, row]));
    const nodes = Array.from({ length: until - from }, (_, at) => ({ level: 0, index: from + at }));
    const stored = await this.tree.readHashes(nodes);
    for (const [at, hash] of stored.entries()) {
      const row = entries.get(from + at);
      const leaf = row && leafHash(Buffer.from(row.entry));
      if (!leaf) this.add(`entry ${from + at}`, 'it was deleted');
      else if (hash.length > 0 && !leaf.equals(hash)) this.add(`entry ${from + at}`, 'it was altered, or its hash in the tree was');
      if (hash.length === 0) this.add(`entry ${from + at}`, 'the tree has no hash of it');
      const next = hash.length > 0 ? hash : leaf;
      if (!next) return;
      this.frontier.append(next);
      this.checkRoot();
    }
  }

  /** Whether the tree has the root of the checkpoint of its size. */
  private checkRoot(): void {
    const { size } = this.frontier;
    while (this.checkpoints[0] && this.checkpoints[0].size < size) this.checkpoints.shift();
    const [checkpoint] = this.checkpoints;
    if (checkpoint?.size === size && !checkpoint.root.equals(this.frontier.root()))
      this.add(`checkpoint ${size}`, 'the tree has another root than was signed');
  }

  private async checkInclusion(rows: readonly EntryRow[], { size, root }: StoredCheckpoint): Promise<void> {
    const proofs = await this.tree.inclusionProofs(
      rows.map(({ index }) => index),
      size,
    );
    for (const [at, { index, entry }] of rows.entries()) {
      const fault = findInclusionFault({ leafHash: leafHash(Buffer.from(entry)), index, size, proof: proofs[at] as Buffer[], root });
      if (fault !== undefined) this.add(`entry ${index}`, `it was altered, or the tree was: ${fault}`);
    }
  }

  private async checkEntries(rows: readonly EntryRow[]): Promise<void> {
    const receipts: { index: number; entry: ReceiptEntry; receipt: Receipt }[] = [];
    const polls: { index: number; entry: PollsEntry }[] = [];
    for (const { index, deviceId, entry: text } of rows) {
      this.report.entries += 1;
      const entry = this.readEntry(index, text);
      if (!entry) continue;
      if (entry.kind === 'polls') {
        polls.push({ index, entry });
        continue;
      }
      this.report.receipts += 1;
      const receipt = await this.checkReceipt(index, deviceId, entry);
      if (receipt) receipts.push({ index, entry, receipt });
    }
    await this.checkAcks(receipts);
    await this.checkManifests(receipts.map(({ receipt }) => receipt));
    await this.checkPolls(polls.map(({ entry }) => entry));
  }

  private readEntry(index: number, text: string): LedgerEntry | undefined {
    try {
      return parseEntry(text);
    } catch (error) {
      if (!(error instanceof WaypostError)) throw error;
      this.add(`entry ${index}`, error.message);
      return undefined;
    }
  }

  private async checkReceipt(index: number, deviceId: string, { receipt: body, signature }: ReceiptEntry): Promise<Receipt | undefined> {
    try {
      const receipt = parseReceipt(body);
      const key = (await this.keysOf(receipt.device)).get(receipt.key);
      if (receipt.device !== deviceId) this.add(`entry ${index}`, `its row names another device than ${receipt.device}`);
      if (!key) this.add(`entry ${index}`, `the key ${receipt.key} is none of its device`);
      else if (!verifiesReceipt({ body, signature }, key)) this.add(`entry ${index}`, 'the device did not sign its receipt');
      return receipt;
    } catch (error) {
      if (!(error instanceof WaypostError)) throw error;
      this.add(`entry ${index}`, error.message);
      return undefined;
    }
  }

  private async keysOf(deviceId: string): Promise<ReadonlyMap<string, KeyObject>> {
    const known = this.keys.get(deviceId);
    if (known) return known;
    const rows = await this.query<{ thumbprint: string; publicKey: Buffer }>(READ_DEVICE_KEYS, [deviceId]);
    const keys = new Map(rows.map(({ thumbprint, publicKey }) => [thumbprint, publicKeyOf(publicKey)]));
    this.keys.set(deviceId, keys);
    return keys;
  }

  /** The rows of acks are as they were when their receipts were appended. */
  private async checkAcks(receipts: readonly { index: number; entry: ReceiptEntry; receipt: Receipt }[]): Promise<void> {
    const recorded = receipts.flatMap(({ index, entry: { ack }, receipt }) => (ack ? [{ index, ...ack, receipt }] : []));
    const rows = await this.query<{ id: number; facts: object }>(READ_ACK_FACTS, [recorded.map(({ id }) => id)]);
    const found = new Map(rows.map(({ id, facts }) => [id, facts]));
    for (const { index, id, sha256, receipt } of recorded) {
      const facts = found.get(id);
      const whose = `the ${receipt.result} of ${receipt.mac} for the manifest ${receipt.manifestId} (entry ${index})`;
      if (!facts && !this.mayBePruned(receipt.manifestId)) this.add(`acknowledgement ${id}`, `its row was deleted: ${whose}`);
      if (facts && ackRowSha256(facts) !== sha256) this.add(`acknowledgement ${id}`, `its row was altered: ${whose}`);
    }
  }

  /** Manifests are those that devices acknowledged. */
  private async checkManifests(receipts: readonly Receipt[]): Promise<void> {
    const expected = new Map(receipts.flatMap(({ manifestId, manifestSha256 }) => (manifestSha256 ? [[manifestId, manifestSha256]] : [])));
    const rows = await this.query<{ manifestId: string; document: unknown; tables: Record<string, [number, string]> }>(
      READ_AUDITED_MANIFESTS,
      [[...expected.keys()]],
    );
    const found = new Map(rows.map((row) => [row.manifestId, row]));
    for (const [manifestId, sha256] of expected) {
      const row = found.get(manifestId);
      if (row) this.checkManifest(row, sha256);
      else if (!this.mayBePruned(manifestId)) this.add(`manifest ${manifestId}`, 'its row was deleted');
    }
  }

  private checkManifest(
    { manifestId, document, tables }: { manifestId: string; document: unknown; tables: Record<string, [number, string]> },
    sha256: string,
  ): void {
    const place = `manifest ${manifestId}`;
    try {
      const manifest = openManifest(document);
      if (manifest.sha256 !== sha256) this.add(place, 'its document is another one than the device acknowledged');
      for (const { name, rowCount, sha256: hash } of manifest.tables) {
        const row = Object.hasOwn(tables, name) ? tables[name] : undefined;
        if (!row) this.add(place, `its row of sync_manifests for ${name} was deleted`);
        else if (row[0] !== rowCount || row[1] !== hash) this.add(place, `its row of sync_manifests for ${name} was altered`);
      }
    } catch (error) {
      if (!(error instanceof WaypostError)) throw error;
      this.add(place, `its document was altered: ${error.message}`);
    }
  }

  private async checkPolls(entries: readonly PollsEntry[]): Promise<void> {
    const fresh = entries.filter(({ hour }) => Date.parse(hour) > Date.now() - this.options.retentionMs);
    const rows = await this.query<{ polls: number }>(COUNT_AUDITED_POLLS, [fresh.map(({ mac }) => mac), fresh.map(({ hour }) => hour)]);
    for (const [at, { mac, hour, polls }] of fresh.entries()) {
      const there = rows[at]?.polls ?? 0;
      if (there < polls)
        this.add(`polls of ${mac} at ${hour}`, `${polls - there} of ${polls} rows of sync_requests were deleted or altered`);
    }
  }

  /** A ULID begins with the time at which it was made. */
  private mayBePruned(manifestId: string): boolean {
    const madeAt = [...manifestId.slice(0, 10)].reduce((time, digit) => time * 32 + ULID_DIGITS.indexOf(digit), 0);
    return madeAt < Date.now() - this.options.retentionMs;
  }

  private add(place: string, finding: string): void {
    if (this.report.findings.length < MAX_FINDINGS) this.report.findings.push({ place, finding: finding.replace(/\.$/, '') });
  }
}

import { createPublicKey, type KeyObject } from 'node:crypto';
import type { z } from 'zod';
import { canonicalJson } from './canonical-json.js';
import { verifyCheckpoint, type VerifiedCheckpoint } from './checkpoint.js';
import { WaypostError } from './errors.js';
import { keyThumbprint } from './identity.js';
import { type BundleEntry, bundleEntrySchema, type BundleHeader, bundleHeaderSchema, bundleSealSchema, sealText } from './ledger-bundle.js';
import { parseEntry } from './ledger-entry.js';
import { leafHash } from './merkle-tree.js';
import { parseVerifierKey, type VerifierKey, verifyNote } from './signed-note.js';
import { parseReceipt, type Receipt, receiptSha256, verifiesReceipt } from './signed-receipt.js';
import { findConsistencyFault, findInclusionFault } from './verify-proof.js';

/** What is wrong with a bundle, and in which line, from 1. */
export interface BundleFault {
  line: number;
  fault: string;
}

/** What was found. The bundle holds where there are no faults. */
export interface BundleVerdict {
  faults: BundleFault[];
  /** Undefined where the first line could not be read. */
  header: BundleHeader | undefined;
  checkpoint: VerifiedCheckpoint | undefined;
  receipts: number;
  failures: number;
  polls: number;
}

/** One damaged line may make many that follow wrong. */
const MAX_FAULTS = 20;

/**
 * Judges a bundle by itself, without any database: docs/ledger.md says each rule.
 * @param text the bundle
 * @param trusted verifier keys that the reader has from elsewhere; without them, those that the bundle itself names are believed
 */
export function checkBundle(text: string, trusted: readonly VerifierKey[] = []): BundleVerdict {
  return new BundleCheck(text, trusted).run();
}

class BundleCheck {
  private readonly verdict: BundleVerdict = { faults: [], header: undefined, checkpoint: undefined, receipts: 0, failures: 0, polls: 0 };
  /** With their line feeds. */
  private readonly lines: string[];
  private readonly deviceKeys = new Map<string, KeyObject>();
  private readonly chains = new Map<string, { sequence: number; sha256: string }>();
  private lastIndex = -1;

  constructor(
    text: string,
    private readonly trusted: readonly VerifierKey[],
  ) {
    this.lines = text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
  }

  run(): BundleVerdict {
    const header = this.read(1, bundleHeaderSchema);
    if (!header) return this.verdict;
    this.verdict.header = header;
    const keys = this.attempt(1, () => this.keysOf(header)) ?? [];
    this.attempt(1, () => this.checkHeader(header, keys));
    const last = this.lines.length;
    if (last !== header.entries + 2)
      this.add(last, `the bundle has ${Math.max(0, last - 2)} lines of entries in place of ${header.entries}`);
    for (let line = 2; line < last && this.verdict.faults.length < MAX_FAULTS; line += 1) {
      const entry = this.read(line, bundleEntrySchema);
      if (entry) this.attempt(line, () => this.checkEntry(line, entry, header));
    }
    this.attempt(last, () => this.checkSeal(last, header, keys));
    return this.verdict;
  }

  private keysOf({ keys, origin }: BundleHeader): VerifierKey[] {
    const own = keys.map(parseVerifierKey);
    const known =
      this.trusted.length === 0 ? own : own.filter((key) => this.trusted.some(({ name, id }) => name === key.name && id === key.id));
    if (known.length === 0) this.add(1, 'none of its keys is one that is trusted here');
    if (own.some(({ name }) => name !== origin)) this.add(1, 'a key has another name than the ledger');
    return this.trusted.length === 0 ? known : this.trusted.filter(({ name }) => name === origin);
  }

  private checkHeader({ checkpoint, earlier, origin, deviceKeys }: BundleHeader, keys: VerifierKey[]): void {
    for (const { thumbprint, publicKey: x } of deviceKeys) {
      if (keyThumbprint(x) !== thumbprint) this.add(1, `the key ${thumbprint} of the device has another thumbprint`);
      else this.deviceKeys.set(thumbprint, createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' }));
    }
    const verified = verifyCheckpoint(checkpoint, { origin, keys });
    this.verdict.checkpoint = verified;
    const checkpoints = [...earlier.map((one) => verifyCheckpoint(one.checkpoint, { origin, keys })), verified];
    for (const [at, { proof }] of earlier.entries()) {
      const [older, newer] = [checkpoints[at], checkpoints[at + 1]] as [VerifiedCheckpoint, VerifiedCheckpoint];
      const fault = findConsistencyFault({ oldSize: older.size, oldRoot: older.root, newSize: newer.size, newRoot: newer.root, proof });
      if (fault !== undefined) this.add(1, `the checkpoint of ${newer.size} leaves does not continue that of ${older.size}: ${fault}`);
    }
  }

  private checkEntry(line: number, { index, entry, proof }: BundleEntry, header: BundleHeader): void {
    if (index <= this.lastIndex) this.add(line, `its leaf ${index} stands after leaf ${this.lastIndex}`);
    this.lastIndex = Math.max(this.lastIndex, index);
    const { checkpoint } = this.verdict;
    if (checkpoint) {
      const { size, root } = checkpoint;
      const fault = findInclusionFault({ leafHash: leafHash(Buffer.from(entry)), index, size, proof, root });
      if (fault !== undefined) this.add(line, `leaf ${index} is not in the tree of the checkpoint: ${fault}`);
    }
    const content = parseEntry(entry);
    if (content.kind === 'polls') {
      this.verdict.polls += content.polls;
      if (content.device !== header.device) this.add(line, `it is of the device ${content.device}`);
      return;
    }
    const receipt = parseReceipt(content.receipt);
    this.verdict.receipts += 1;
    if (receipt.result === 'Failed') this.verdict.failures += 1;
    if (receipt.device !== header.device) this.add(line, `its receipt is of the device ${receipt.device}`);
    const key = this.deviceKeys.get(receipt.key);
    if (!key) this.add(line, `its receipt names the key ${receipt.key}, which is none of the device`);
    else if (!verifiesReceipt({ body: content.receipt, signature: content.signature }, key))
      this.add(line, 'the device did not sign its receipt');
    this.checkChain(line, receipt, receiptSha256(content.receipt));
  }

  /** The first receipt of a key may have others before it that are older than the bundle. */
  private checkChain(line: number, { key, sequence, previous }: Receipt, sha256: string): void {
    const end = this.chains.get(key);
    this.chains.set(key, { sequence, sha256 });
    if (!end) return;
    if (sequence !== end.sequence + 1) this.add(line, `receipt ${sequence} of the key ${key} follows receipt ${end.sequence}`);
    else if (previous !== end.sha256)
      this.add(line, `receipt ${sequence} of the key ${key} names another receipt ${end.sequence} than the one before it`);
  }

  private checkSeal(line: number, { origin }: BundleHeader, keys: VerifierKey[]): void {
    const seal = this.read(line, bundleSealSchema);
    if (!seal) return;
    const { text } = verifyNote(seal.seal, keys);
    const before = this.lines.slice(0, -1);
    const expected = sealText(origin, before);
    if (text === expected) return;
    const [, , first] = text.split('\n');
    const isHeader = first !== expected.split('\n')[2];
    this.add(isHeader ? 1 : line, isHeader ? 'the line is not the one that was sealed' : 'the lines are not those that were sealed');
  }

  private read<T>(line: number, schema: z.ZodType<T>): T | undefined {
    const text = this.lines[line - 1] ?? '';
    const json = parseJson(text);
    const { data } = schema.safeParse(json);
    if (data === undefined) this.add(line, text === '' ? 'the line is missing' : 'the line does not have the form that it should');
    else if (!isCanonical(json, text)) this.add(line, 'the line is not in the canonical form of RFC 8785');
    else return data;
    return undefined;
  }

  private attempt<T>(line: number, work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof WaypostError)) throw error;
      this.add(line, error.message);
      return undefined;
    }
  }

  private add(line: number, fault: string): void {
    if (this.verdict.faults.length < MAX_FAULTS) this.verdict.faults.push({ line, fault: fault.replace(/\.$/, '') });
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function isCanonical(json: unknown, text: string): boolean {
  return text.isWellFormed() && `${canonicalJson(json)}\n` === text;
}

import { Inject, Injectable } from '@nestjs/common';
import {
  findConsistencyFault,
  findInclusionFault,
  leafHash,
  parseEntry,
  parseVerifierKey,
  type VerifiedCheckpoint,
  verifyCheckpoint,
  WaypostError,
} from '@waypost/contracts';
import { LOGGER, type Query, queryOn } from '@waypost/runtime';
import type { Logger } from 'pino';
import { refusalCode } from '../central/central-errors.js';
import { CentralCircuit } from '../central/central-circuit.js';
import { LastCheckpoint } from '../central/last-checkpoint.js';
import { LedgerClient } from '../central/ledger-client.js';
import { Metrics } from '../metrics/metrics.js';
import type { CyclePhase, OpenCycle } from '../phase/cycle-phase.js';
import { MARK_INCLUDED, MARK_REPORTED, READ_WITNESS, STORE_CHECKPOINT, STORE_FORK } from './witness.sql.js';

interface UncheckedReceipt {
  id: string;
  sha256: string;
  body: string;
  signature: string;
  isOverdue: boolean;
}

interface StoredFork {
  id: string;
  reason: string;
  seen: string;
  received: string;
  receipt: string | null;
  isReported: boolean;
}

/** The row of READ_WITNESS. */
interface WitnessRow {
  origin: string | null;
  keys: string[] | null;
  size: number | null;
  root: Buffer | null;
  note: string | null;
  receipts: UncheckedReceipt[];
  forks: StoredFork[];
}

/** What the device verified last, with the keys that it trusts. */
interface Known {
  origin: string;
  keys: string[];
  size: number;
  root: Buffer;
  note: string;
}

interface Watch {
  query: Query;
  signal: AbortSignal;
}

/**
 * The device is a witness of central's ledger: each checkpoint that comes with an answer must continue the last one, and the device's own receipts must be
 * in it. What it finds wrong is kept with both checkpoints, raises an alarm here, and is reported to central. It never stops the data.
 */
@Injectable()
export class Witness implements CyclePhase {
  /** Findings that no operator has resolved; undefined before the first cycle. */
  forks: readonly Pick<StoredFork, 'reason'>[] | undefined;

  /** The checkpoint with which all was in order. */
  private settled: string | undefined;

  constructor(
    private readonly client: LedgerClient,
    private readonly circuit: CentralCircuit,
    private readonly last: LastCheckpoint,
    private readonly metrics: Metrics,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  async run({ cycle, client }: OpenCycle): Promise<void> {
    const watch = { query: queryOn(client), signal: cycle.stop };
    const note = this.last.take();
    // What was checked and left nothing to do is not looked up again at each poll.
    if (note === this.settled && this.forks?.length === 0) return;
    try {
      await this.watch(note, watch);
    } catch (err) {
      this.logger.warn({ err }, 'central’s ledger could not be checked; the next cycle tries again');
    }
  }

  reset(): void {
    this.forks = undefined;
    this.settled = undefined;
  }

  private async watch(note: string | undefined, watch: Watch): Promise<void> {
    const row = await this.read(watch);
    if (note !== undefined) await this.follow(note, row, watch);
    const { forks, receipts } = note === undefined ? row : await this.read(watch);
    this.forks = forks;
    this.settled = forks.length + receipts.length === 0 ? note : undefined;
    this.metrics.ledgerForks.set(forks.length);
    for (const fork of forks) if (!fork.isReported) await this.report(fork, watch);
  }

  private async read({ query }: Watch): Promise<WitnessRow> {
    const [row] = await query<WitnessRow>(READ_WITNESS);
    return row as WitnessRow;
  }

  private async follow(note: string, row: WitnessRow, watch: Watch): Promise<void> {
    const known = await this.trust(row, watch);
    if (note !== known.note) {
      const fault = await this.extend(known, note, watch);
      if (fault !== undefined) return this.found(fault, known.note, note, undefined, watch);
    }
    if (row.receipts.length > 0) await this.checkReceipts(row.receipts, watch);
  }

  /**
   * The only place that decides which keys sign central's ledger: those that central named when the device first asked, over the connection that it
   * trusts; they never change after.
   */
  private async trust({ origin, keys, size, root, note }: WitnessRow, { signal }: Watch): Promise<Known> {
    if (origin !== null && keys !== null && size !== null && root !== null && note !== null) return { origin, keys, size, root, note };
    const named = await this.circuit.run(() => this.client.keys(signal), signal);
    return { ...named, size: 0, root: Buffer.alloc(0), note: '' };
  }

  /** Takes a checkpoint that continues the last one. @returns why it does not; undefined where it does */
  private async extend(known: Known, note: string, watch: Watch): Promise<string | undefined> {
    const { query, signal } = watch;
    let checkpoint: VerifiedCheckpoint;
    try {
      checkpoint = open(note, known);
    } catch (error) {
      if (error instanceof WaypostError) return error.message;
      throw error;
    }
    const { size, root } = checkpoint;
    if (size < known.size) return this.checkSmaller(known, watch);
    if (known.size > 0) {
      const proof = size === known.size ? [] : await this.circuit.run(() => this.client.consistencyProof(known.size, size, signal), signal);
      const fault = findConsistencyFault({ oldSize: known.size, oldRoot: known.root, newSize: size, newRoot: root, proof });
      if (fault !== undefined) return `The ledger of ${size} leaves does not continue that of ${known.size}. ${fault}`;
    }
    await query(STORE_CHECKPOINT, [known.origin, known.keys, size, root, note]);
    return undefined;
  }

  /** Another process of central may know an older checkpoint; its database knows the newest. */
  private async checkSmaller(known: Known, watch: Watch): Promise<string | undefined> {
    const note = await this.circuit.run(() => this.client.checkpoint(watch.signal), watch.signal);
    const { size } = open(note, known);
    return size < known.size ? `The ledger has ${size} leaves; it had ${known.size}.` : this.extend(known, note, watch);
  }

  /** That a receipt is not there yet says nothing until the checkpoint is newer than its ack: so it is asked for with the newest one of central's database. */
  private async checkReceipts(receipts: readonly UncheckedReceipt[], watch: Watch): Promise<void> {
    const known = await this.read(watch);
    if (known.origin === null || known.keys === null || known.size === null || known.root === null) return;
    const included: string[] = [];
    for (const receipt of receipts) {
      const fault = await this.checkReceipt(receipt, { size: known.size, root: known.root }, watch.signal);
      if (fault === undefined) included.push(receipt.id);
      else if (fault !== 'later') await this.found(fault, known.note ?? '', known.note ?? '', receipt.sha256, watch);
    }
    if (included.length > 0) await watch.query(MARK_INCLUDED, [included]);
  }

  private async checkReceipt(
    { sha256, body, signature, isOverdue }: UncheckedReceipt,
    { size, root }: { size: number; root: Buffer },
    signal: AbortSignal,
  ): Promise<string | undefined> {
    try {
      const { index, entry, proof } = await this.circuit.run(() => this.client.inclusion(sha256, size, signal), signal);
      const content = parseEntry(entry);
      if (content.kind !== 'receipt' || content.receipt !== body || content.signature !== signature)
        return `The ledger has another entry than the receipt ${sha256}.`;
      const fault = findInclusionFault({ leafHash: leafHash(Buffer.from(entry)), index, size, proof, root });
      return fault === undefined ? undefined : `The receipt ${sha256} is not in the ledger. ${fault}`;
    } catch (error) {
      // It was appended after this checkpoint, or still waits at central: the next checkpoint tells.
      if (refusalCode(error) !== 'LEDGER_NOT_FOUND') throw error;
      return isOverdue ? `The ledger does not have the receipt ${sha256}, which central acknowledged.` : 'later';
    }
  }

  private async found(reason: string, seen: string, received: string, receipt: string | undefined, { query }: Watch): Promise<void> {
    const error = new WaypostError('LEDGER_FORKED', { detail: reason });
    this.logger.error({ err: error, seen, received, receipt }, 'central’s ledger does not continue what this device saw of it');
    await query(STORE_FORK, [reason, seen, received, receipt ?? null]);
  }

  private async report({ id, reason, seen, received, receipt }: StoredFork, { query, signal }: Watch): Promise<void> {
    const message = { reason: reason.slice(0, 1024), seen, received, ...(receipt === null ? {} : { receipt }) };
    await this.circuit.run(() => this.client.reportFork(message, signal), signal);
    await query(MARK_REPORTED, [id]);
  }
}

function open(note: string, { origin, keys }: Pick<Known, 'origin' | 'keys'>): VerifiedCheckpoint {
  return verifyCheckpoint(note, { origin, keys: keys.map(parseVerifierKey) });
}

import { Inject, Injectable } from '@nestjs/common';
import {
  findConsistencyFault,
  findInclusionFault,
  type ForkReport,
  leafHash,
  namesKey,
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
import { type Heard, LastCheckpoint } from '../central/last-checkpoint.js';
import { LedgerClient } from '../central/ledger-client.js';
import { IdentityFiles } from '../identity/identity-files.js';
import { Metrics } from '../metrics/metrics.js';
import type { CyclePhase, OpenCycle } from '../phase/cycle-phase.js';
import { ManifestTrust } from '../trust/manifest-trust.js';
import { END_WITHHELD, MARK_INCLUDED, MARK_REPORTED, NOTE_WITHHELD, READ_WITNESS, STORE_CHECKPOINT, STORE_FORK } from './witness.sql.js';

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
  /** It was verified a moment ago. */
  isRecent: boolean | null;
  isWithheld: boolean;
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

/** What came of a checkpoint: `later` where no proof was asked for yet. */
type Outcome = 'continues' | 'found' | 'later';

interface Watch {
  cycleId: string;
  query: Query;
  signal: AbortSignal;
}

/**
 * The device is a witness of central's ledger: each checkpoint that comes with an answer must continue the last one, and the device's own receipts must be
 * in it. It asks for a checkpoint that does not come. What it finds wrong is kept with both checkpoints, raises an alarm here, and is reported to central. It
 * never stops the data.
 */
@Injectable()
export class Witness implements CyclePhase {
  /** Findings that no operator has resolved; undefined before the first cycle. */
  forks: readonly Pick<StoredFork, 'reason'>[] | undefined;

  /** The answer that left nothing to do. An ack ends it: central could repeat one checkpoint for ever. */
  private settled: Pick<Heard, 'note'> | undefined;

  constructor(
    private readonly client: LedgerClient,
    private readonly circuit: CentralCircuit,
    private readonly last: LastCheckpoint,
    private readonly files: IdentityFiles,
    private readonly manifestTrust: ManifestTrust,
    private readonly metrics: Metrics,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  async run({ cycle, client }: OpenCycle): Promise<void> {
    const watch = { cycleId: cycle.cycleId, query: queryOn(client), signal: cycle.stop };
    const last = this.last.take();
    if (last.hasAcked) this.settled = undefined;
    // What was checked and left nothing to do is not looked up again at each poll, nor is the identity read.
    const isSettled = !last.isAnswered || (this.settled !== undefined && this.settled.note === last.note);
    if (isSettled && this.forks?.length === 0) return;
    try {
      // The ledger is for devices that have enrolled: others are sent checkpoints, too, and ignore them.
      const isWitness = (await this.files.identity()) !== undefined;
      if (!isWitness && this.forks?.length === 0) return;
      await this.watch(isWitness ? last : { ...last, isAnswered: false }, watch);
    } catch (err) {
      this.logger.warn({ err }, 'central’s ledger could not be checked; the next cycle tries again');
    }
  }

  reset(): void {
    this.forks = undefined;
    this.settled = undefined;
  }

  private async watch({ isAnswered, note }: Heard, watch: Watch): Promise<void> {
    const before = await this.read(watch);
    const isDone = isAnswered && (await this.check(note, before, watch));
    const { forks, receipts } = isAnswered ? await this.read(watch) : before;
    this.forks = forks;
    this.settled = isDone && forks.length + receipts.length === 0 ? { note } : undefined;
    this.metrics.ledgerForks.set(forks.length);
    for (const fork of forks) if (!fork.isReported) await this.report(fork, watch);
  }

  private async read({ query }: Watch): Promise<WitnessRow> {
    const [row] = await query<WitnessRow>(READ_WITNESS);
    return row as WitnessRow;
  }

  /** @param sent the checkpoint that came with the answer @returns whether another such answer leaves nothing to do */
  private async check(sent: string | undefined, row: WitnessRow, watch: Watch): Promise<boolean> {
    // A central may have no ledger until the first ack.
    if (sent === undefined && row.origin === null && row.receipts.length === 0) return true;
    try {
      const outcome = await this.follow(sent ?? (await this.newest(watch)), row, watch);
      if (row.isWithheld) await watch.query(END_WITHHELD);
      return sent !== undefined && outcome === 'continues';
    } catch (error) {
      // What the device itself lacks says nothing of central.
      if (!(error instanceof WaypostError) || error.code === 'IDENTITY_UNREADABLE' || watch.signal.aborted) throw error;
      await this.withheld(error, row, watch);
      return false;
    }
  }

  /** Central answered the poll, and gives no checkpoint or proof. A link may fail; a central that has something to hide goes on so. */
  private async withheld(error: WaypostError, { origin, note, receipts }: WitnessRow, watch: Watch): Promise<void> {
    // Its ledger may begin with this device's first receipt.
    if (origin === null && !receipts.some(({ isOverdue }) => isOverdue)) throw error;
    this.logger.warn({ err: error }, 'central answers, but its ledger could not be checked');
    const [noted] = await watch.query<{ isLong: boolean }>(NOTE_WITHHELD);
    if (noted?.isLong !== true) return;
    const reason = `Central answers this device, and has withheld its ledger for more than ten minutes. ${error.message}`;
    await this.found({ reason, seen: note ?? '', received: '' }, watch);
  }

  private async follow(note: string, row: WitnessRow, watch: Watch): Promise<Outcome> {
    const known = await this.trust(row, watch);
    // After an own ack the newest is asked for, however often the device polls.
    const isProofDue = row.isRecent !== true || row.receipts.length > 0;
    const outcome = note === known.note ? 'continues' : await this.extend(known, note, { ...watch, isProofDue });
    if (outcome === 'continues' && row.receipts.length > 0) await this.checkReceipts(row.receipts, watch);
    return outcome;
  }

  /**
   * The only place that decides which keys sign central's ledger: those that the trust document names. Where it names none, as that of an earlier central,
   * those that central named when the device first asked, over the connection that it trusts: they stay.
   */
  private async trust({ origin, keys, size, root, note }: WitnessRow, { signal }: Watch): Promise<Known> {
    const pinned = origin !== null && keys !== null ? { origin, keys } : undefined;
    const named = (await this.manifestTrust.ledgerKeys()) ?? pinned ?? (await this.circuit.run(() => this.client.keys(signal), signal));
    return size !== null && root !== null && note !== null
      ? { ...named, size, root, note }
      : { ...named, size: 0, root: Buffer.alloc(0), note: '' };
  }

  /** Takes a checkpoint that continues the last one; keeps both where it does not. */
  private async extend(known: Known, note: string, watch: Watch & { isProofDue: boolean; isNewest?: boolean }): Promise<Outcome> {
    const { query, signal, isProofDue, isNewest = false } = watch;
    const differs = async (reason: string): Promise<Outcome> => {
      await this.found({ reason, seen: known.note, received: note }, watch);
      return 'found';
    };
    const checkpoint = open(note, known);
    if ('fault' in checkpoint) {
      if (isNewest || checkpoint.isOurs) return differs(checkpoint.fault);
      // The keys may just have been replaced, and a process of central know that before, or after, its answers say so.
      await this.manifestTrust.followNewest(signal);
      const renewed = { ...known, ...(await this.manifestTrust.ledgerKeys()) };
      return this.extend(renewed, await this.newest(watch), { ...watch, isNewest: true });
    }
    const { size, root } = checkpoint;
    if (size < known.size) {
      // Another process of central may know an older checkpoint; its database knows the newest.
      if (!isNewest) return this.extend(known, await this.newest(watch), { ...watch, isNewest: true });
      return differs(`The ledger has ${size} leaves; it had ${known.size}.`);
    }
    if (known.size > 0) {
      if (size > known.size && !isProofDue) return 'later';
      const proof = size === known.size ? [] : await this.circuit.run(() => this.client.consistencyProof(known.size, size, signal), signal);
      const fault = findConsistencyFault({ oldSize: known.size, oldRoot: known.root, newSize: size, newRoot: root, proof });
      if (fault !== undefined) return differs(`The ledger of ${size} leaves does not continue that of ${known.size}. ${fault}`);
    }
    await query(STORE_CHECKPOINT, [known.origin, known.keys, size, root, note]);
    return 'continues';
  }

  /** The newest checkpoint of central's database. */
  private newest({ signal }: Watch): Promise<string> {
    return this.circuit.run(() => this.client.checkpoint(signal), signal);
  }

  /** That a receipt is not there yet says nothing until the checkpoint is newer than its ack: so it is asked for with the newest one of central's database. */
  private async checkReceipts(receipts: readonly UncheckedReceipt[], watch: Watch): Promise<void> {
    const known = await this.read(watch);
    if (known.origin === null || known.keys === null || known.size === null || known.root === null) return;
    const included: string[] = [];
    for (const receipt of receipts) {
      const fault = await this.checkReceipt(receipt, { size: known.size, root: known.root }, watch.signal);
      if (fault === undefined) included.push(receipt.id);
      else if (fault !== 'later')
        await this.found({ reason: fault, seen: known.note ?? '', received: known.note ?? '', receipt: receipt.sha256 }, watch);
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

  private async found({ reason, seen, received, receipt }: ForkReport, { query, cycleId }: Watch): Promise<void> {
    const error = new WaypostError('LEDGER_FORKED', { detail: reason });
    this.logger.error({ err: error, seen, received, receipt }, 'central’s ledger does not continue what this device saw of it');
    await query(STORE_FORK, [reason, seen, received, receipt ?? null, cycleId]);
  }

  private async report({ id, reason, seen, received, receipt }: StoredFork, { query, signal }: Watch): Promise<void> {
    const message = { reason: reason.slice(0, 1024), seen, received, ...(receipt === null ? {} : { receipt }) };
    await this.circuit.run(() => this.client.reportFork(message, signal), signal);
    await query(MARK_REPORTED, [id]);
  }
}

/** A checkpoint, or why it is none; then whether it names one of these keys, or is no note at all, so that newer keys would change nothing. */
function open(note: string, { origin, keys }: Pick<Known, 'origin' | 'keys'>): VerifiedCheckpoint | { fault: string; isOurs: boolean } {
  const verifiers = keys.map(parseVerifierKey);
  let isOurs = true;
  try {
    isOurs = namesKey(note, verifiers);
    return verifyCheckpoint(note, { origin, keys: verifiers });
  } catch (error) {
    if (error instanceof WaypostError) return { fault: error.message, isOurs };
    throw error;
  }
}

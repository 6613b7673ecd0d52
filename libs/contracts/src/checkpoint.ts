import { WaypostError } from './errors.js';
import { HASH_BYTES, isTreeHash, isTreeSize } from './merkle-tree.js';
import { isNoteText, signNote, type SigningKey, verifyNote, type VerifierKey } from './signed-note.js';

/** A longer checkpoint is refused before it is read; signatures do not count. Origin, size and root need about a hundred bytes. */
export const MAX_CHECKPOINT_BYTES = 4 << 10;
/** A checkpoint with more lines is refused; signatures do not count. */
export const MAX_CHECKPOINT_LINES = 16;

const DECIMAL = /^(0|[1-9][0-9]*)$/;

/** The state of a ledger: its tree when it had so many leaves. */
export interface Checkpoint {
  /** Names the ledger; not empty. */
  origin: string;
  /** Number of leaves. */
  size: number;
  /** 32 bytes. */
  root: Buffer;
  /** Lines that follow, whose meaning only the ledger knows. Not empty lines; C2SP advises against any. */
  extensions: readonly string[];
}

/** A checkpoint, and the known keys whose signatures were verified, at least one. */
export interface VerifiedCheckpoint extends Checkpoint {
  signedBy: VerifierKey[];
}

/**
 * The text of a checkpoint (C2SP tlog-checkpoint): origin, size in decimal, root in base64 and the extensions, each on a line that ends with a line feed.
 * @throws RangeError where a field is not as Checkpoint says, has a control character, or the text is longer than the limits
 */
export function formatCheckpoint({ origin, size, root, extensions }: Checkpoint): string {
  if (!isTreeSize(size)) throw new RangeError(`${size} is not the size of a tree`);
  if (!isTreeHash(root)) throw new RangeError(`a root has ${HASH_BYTES} bytes`);
  if (![origin, ...extensions].every(isLine)) throw new RangeError('origin and extensions are lines that are not empty');
  const text = [origin, size, root.toString('base64'), ...extensions, ''].join('\n');
  const fault = findLimitFault(text);
  if (fault) throw new RangeError(`no checkpoint has this text: ${fault}`);
  return text;
}

/**
 * Reads the text of a checkpoint; accepts nothing that formatCheckpoint does not write. Says nothing about who wrote it.
 * @throws WaypostError LEDGER_INVALID
 */
export function parseCheckpoint(text: string): Checkpoint {
  const fault = findLimitFault(text);
  if (fault) throw invalid(fault);
  if (!isNoteText(text)) throw invalid('it does not end with a line feed, or has other control characters');
  const lines = text.slice(0, -1).split('\n');
  const [origin, decimal, base64, ...extensions] = lines;
  if (origin === undefined || decimal === undefined || base64 === undefined) throw invalid('it has fewer than three lines');
  if (lines.includes('')) throw invalid('it has an empty line');
  const [size, root] = [Number(decimal), Buffer.from(base64, 'base64')];
  if (!DECIMAL.test(decimal) || !isTreeSize(size)) throw invalid('its second line is not the size of a tree');
  if (!isTreeHash(root) || root.toString('base64') !== base64) throw invalid('its third line is not a root');
  return { origin, size, root, extensions };
}

/**
 * The checkpoint as a signed note.
 * @param signers the ledger's own key first, whose name should be the origin
 * @throws RangeError as formatCheckpoint and signNote
 */
export function signCheckpoint(checkpoint: Checkpoint, signers: readonly SigningKey[]): string {
  return signNote(formatCheckpoint(checkpoint), signers);
}

/**
 * Verifies a checkpoint of one ledger, as verifyNote does. That it continues an earlier one, verifyConsistency shows.
 * @param expected the ledger's origin, and the keys that are trusted to sign for it
 * @throws WaypostError LEDGER_INVALID where note or checkpoint are not valid, or it is that of another ledger
 */
export function verifyCheckpoint(note: string, expected: { origin: string; keys: readonly VerifierKey[] }): VerifiedCheckpoint {
  const { text, signedBy } = verifyNote(note, expected.keys);
  const checkpoint = parseCheckpoint(text);
  if (checkpoint.origin !== expected.origin) throw invalid('it is that of another ledger');
  return { ...checkpoint, signedBy };
}

function isLine(text: string): boolean {
  return text !== '' && !text.includes('\n') && isNoteText(`${text}\n`);
}

function findLimitFault(text: string): string | undefined {
  if (Buffer.byteLength(text) > MAX_CHECKPOINT_BYTES) return `it has more than ${MAX_CHECKPOINT_BYTES} bytes`;
  return text.split('\n').length - 1 > MAX_CHECKPOINT_LINES ? `it has more than ${MAX_CHECKPOINT_LINES} lines` : undefined;
}

function invalid(why: string): WaypostError {
  return new WaypostError('LEDGER_INVALID', { detail: `The checkpoint is not valid: ${why}.` });
}

import { createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto';
import { WaypostError } from './errors.js';

/** A longer note is refused before it is read: 16 signatures, which each verifier has to accept, are less even where they are post-quantum ones. */
export const MAX_NOTE_BYTES = 256 << 10;
/** A note with more signature lines is refused before any is verified. */
export const MAX_NOTE_SIGNATURES = 64;

const ED25519_TYPE = Buffer.of(0x01);
const ED25519_KEY_BYTES = 32;
const KEY_ID_BYTES = 4;
const KEY_NAME = /^[^\p{White_Space}+]+$/u;
const SIGNATURE_LINE = /^— ([^ ]+) ([^ ]+)$/u;
const VERIFIER_KEY = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/u;
// All below U+0020 but the line feed.
const CONTROL_CHARACTER = /[\0-\x09\x0b-\x1f]/;

/** A key that notes are verified with. Name and id together tell it from other keys. */
export interface VerifierKey {
  name: string;
  /** 8 lower-case hex digits: the first bytes of a hash over the name and the key. */
  id: string;
  /** Of Ed25519. */
  publicKey: KeyObject;
}

/** A key that notes are signed with. */
export interface SigningKey {
  name: string;
  /** Of Ed25519. */
  privateKey: KeyObject;
}

/** A note's text, and who signed it. */
export interface VerifiedNote {
  /** With the line feed at its end. */
  text: string;
  /** The known keys whose signatures were verified, at least one, each once, in the order of the signatures. */
  signedBy: VerifierKey[];
}

interface SignatureLine {
  name: string;
  id: string;
  signature: Buffer;
}

/** Whether a key may have this name: not empty, without Unicode spaces, control characters and plus signs. */
export function isKeyName(name: string): boolean {
  return KEY_NAME.test(name) && isPlain(name);
}

/** Whether a note may have this text: it ends with a line feed, and is without other control characters and lone surrogates. */
export function isNoteText(text: string): boolean {
  return text.endsWith('\n') && isPlain(text);
}

/**
 * The verifier key with this name.
 * @throws RangeError where no key may have the name, or the key is not a public one of Ed25519
 */
export function verifierKey(name: string, publicKey: KeyObject): VerifierKey {
  if (!isKeyName(name)) throw new RangeError(`${JSON.stringify(name)} is not the name of a key`);
  if (publicKey.type !== 'public' || publicKey.asymmetricKeyType !== 'ed25519')
    throw new RangeError('notes are verified with public keys of Ed25519');
  return { name, id: keyIdOf(name, publicBytes(publicKey)), publicKey };
}

/** The verifier key of those who verify what is signed with this key. @throws RangeError as signNote */
export function verifierKeyOf({ name, privateKey }: SigningKey): VerifierKey {
  if (privateKey.type !== 'private' || privateKey.asymmetricKeyType !== 'ed25519')
    throw new RangeError('notes are signed with private keys of Ed25519');
  return verifierKey(name, createPublicKey(privateKey));
}

/** A verifier key as text: its name, its id in hex, and in base64 the type 0x01 and the public key, with plus signs between them. */
export function formatVerifierKey({ name, id, publicKey }: VerifierKey): string {
  return `${name}+${id}+${Buffer.concat([ED25519_TYPE, publicBytes(publicKey)]).toString('base64')}`;
}

/**
 * Reads the text of a verifier key; accepts nothing that formatVerifierKey does not write.
 * @throws WaypostError LEDGER_INVALID
 */
export function parseVerifierKey(text: string): VerifierKey {
  const [, name = '', id, base64 = ''] = VERIFIER_KEY.exec(text) ?? [];
  if (!isKeyName(name)) throw invalid('verifier key', 'it is not of the form name+id+key');
  const bytes = decodeBase64(base64);
  if (!bytes) throw invalid('verifier key', 'its last part is not base64');
  if (!bytes.subarray(0, 1).equals(ED25519_TYPE)) throw invalid('verifier key', 'it is not one of Ed25519');
  if (bytes.length !== 1 + ED25519_KEY_BYTES) throw invalid('verifier key', `a key of Ed25519 has ${ED25519_KEY_BYTES} bytes`);
  const raw = bytes.subarray(1);
  if (keyIdOf(name, raw) !== id) throw invalid('verifier key', 'its id is not that of this name and key');
  return { name, id, publicKey: publicKeyOf(raw) };
}

/**
 * Signs a text as a note (C2SP signed-note): the text, an empty line, and a line for each signature.
 * @param signers at least one; their signatures stand in this order
 * @throws RangeError where no note may have the text, a key is not a private one of Ed25519 or has no name, or there are too many
 */
export function signNote(text: string, signers: readonly SigningKey[]): string {
  if (!isNoteText(text)) throw new RangeError('a note’s text ends with a line feed and has no other control characters');
  if (signers.length === 0 || signers.length > MAX_NOTE_SIGNATURES)
    throw new RangeError(`a note has 1 to ${MAX_NOTE_SIGNATURES} signatures`);
  const bytes = Buffer.from(text);
  const lines = signers.map((signer) => {
    const { name, id } = verifierKeyOf(signer);
    const signature = Buffer.concat([Buffer.from(id, 'hex'), sign(null, bytes, signer.privateKey)]);
    return `— ${name} ${signature.toString('base64')}\n`;
  });
  const note = `${text}\n${lines.join('')}`;
  if (Buffer.byteLength(note) > MAX_NOTE_BYTES) throw new RangeError(`a note has at most ${MAX_NOTE_BYTES} bytes`);
  return note;
}

/**
 * Verifies a note (C2SP signed-note). Signatures of unknown keys are passed over, whatever their algorithm; one of a known key that does not verify has the
 * whole note refused, even beside others that do.
 * @param keys those that are trusted
 * @throws WaypostError LEDGER_INVALID where it is not a note, or no known key signed it
 */
export function verifyNote(note: string, keys: readonly VerifierKey[]): VerifiedNote {
  const { text, signatures } = parseNote(note);
  const bytes = Buffer.from(text);
  const signedBy = new Set<VerifierKey>();
  for (const { name, id, signature } of signatures) {
    const known = keys.filter((key) => key.name === name && key.id === id);
    if (known.length === 0) continue;
    const key = known.find(({ publicKey }) => verify(null, bytes, publicKey, signature));
    if (!key) throw invalid('note', `the signature of ${name}+${id} does not verify`);
    signedBy.add(key);
  }
  if (signedBy.size === 0) throw invalid('note', 'no key that is trusted signed it');
  return { text, signedBy: [...signedBy] };
}

/**
 * Whether a note claims a signature of one of these keys, right or wrong. A note without is none of theirs: they may have been replaced.
 * @throws WaypostError LEDGER_INVALID where it is not a note
 */
export function namesKey(note: string, keys: readonly VerifierKey[]): boolean {
  return parseNote(note).signatures.some(({ name, id }) => keys.some((key) => key.name === name && key.id === id));
}

function parseNote(note: string): { text: string; signatures: SignatureLine[] } {
  if (note.length > MAX_NOTE_BYTES || Buffer.byteLength(note) > MAX_NOTE_BYTES)
    throw invalid('note', `it has more than ${MAX_NOTE_BYTES} bytes`);
  if (!isNoteText(note)) throw invalid('note', 'it does not end with a line feed, or has other control characters');
  // The text may have empty lines itself: the last one is where the signatures begin.
  const border = note.lastIndexOf('\n\n');
  const lines = note.slice(border + 2, -1).split('\n');
  if (border < 0 || border + 2 >= note.length) throw invalid('note', 'it has no signatures');
  if (lines.length > MAX_NOTE_SIGNATURES) throw invalid('note', `it has more than ${MAX_NOTE_SIGNATURES} signatures`);
  return { text: note.slice(0, border + 1), signatures: lines.map(parseSignatureLine) };
}

function parseSignatureLine(line: string): SignatureLine {
  const [, name = '', base64 = ''] = SIGNATURE_LINE.exec(line) ?? [];
  const bytes = decodeBase64(base64);
  if (!isKeyName(name) || !bytes || bytes.length <= KEY_ID_BYTES)
    throw invalid('note', 'a line after its last empty one is not a signature');
  return { name, id: bytes.toString('hex', 0, KEY_ID_BYTES), signature: bytes.subarray(KEY_ID_BYTES) };
}

function isPlain(text: string): boolean {
  return text.isWellFormed() && !CONTROL_CHARACTER.test(text);
}

/** Undefined where it is not the one canonical form: Node passes over what is not base64. */
function decodeBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

function keyIdOf(name: string, raw: Buffer): string {
  return hash('sha256', Buffer.concat([Buffer.from(`${name}\n`), ED25519_TYPE, raw]), 'hex').slice(0, 2 * KEY_ID_BYTES);
}

function publicBytes(publicKey: KeyObject): Buffer {
  return Buffer.from(publicKey.export({ format: 'jwk' }).x as string, 'base64url');
}

function publicKeyOf(raw: Buffer): KeyObject {
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: raw.toString('base64url') }, format: 'jwk' });
}

function invalid(what: string, why: string): WaypostError {
  return new WaypostError('LEDGER_INVALID', { detail: `The ${what} is not valid: ${why}.` });
}

#!/usr/bin/env node
// A second checker of ledger bundles, written from docs/ledger.md alone: node test/ledger-checker.mjs BUNDLE [VERIFIER-KEY…]
// Prints "ok", or one line "LINE: fault" for each fault, and exits with 1. It shares no code with Waypost.
import { createHash, createPublicKey, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';

const [file, ...trustedKeys] = process.argv.slice(2);
const faults = [];
let at = 1;
const must = (condition, fault) => condition || (faults.push(`${at}: ${fault}`), false);

const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest();
const leaf = (text) => sha256(Buffer.of(0), text);
const node = (left, right) => sha256(Buffer.of(1), left, right);
const ed25519 = (raw) =>
  createPublicKey({ key: Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), raw]), format: 'der', type: 'spki' });

// RFC 8785: the values of bundles are strings, integers, null, lists and objects.
const canonical = (value) =>
  value === null || typeof value !== 'object'
    ? JSON.stringify(value)
    : Array.isArray(value)
      ? `[${value.map(canonical)}]`
      : `{${Object.keys(value)
          .sort()
          .map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`)}}`;

function parse(text, what) {
  try {
    const value = JSON.parse(text);
    if (must(canonical(value) === text, `${what} is not canonical`)) return value;
  } catch {
    must(false, `${what} is no JSON`);
  }
  return undefined;
}

// ---- keys and notes

function readVerifierKey(text) {
  const [name, id, ...rest] = text.split('+');
  const key = Buffer.from(rest.join('+'), 'base64');
  const right = sha256(`${name}\n`, key).toString('hex').slice(0, 8);
  must(key.length === 33 && key[0] === 1 && id === right, 'a verifier key is damaged');
  return { name, id, key: ed25519(key.subarray(1)) };
}

/** The text of a note, if one of the keys signed it. */
function openNote(note, keys, what) {
  const border = note.lastIndexOf('\n\n') + 1;
  const text = note.slice(0, border);
  let signed = false;
  for (const line of note
    .slice(border + 1)
    .split('\n')
    .slice(0, -1)) {
    const [dash, name, base64] = line.split(' ');
    const bytes = Buffer.from(base64 ?? '', 'base64');
    must(dash === '—' && bytes.length > 4 && bytes.toString('base64') === base64, `${what} has a damaged signature`);
    const key = keys.find((one) => one.name === name && one.id === bytes.toString('hex', 0, 4));
    if (key) signed = must(verify(null, Buffer.from(text), key.key, bytes.subarray(4)), `${what} has a false signature`);
  }
  must(signed, `no trusted key signed ${what}`);
  return text;
}

function openCheckpoint(note, origin, keys) {
  const [name, size, root, ...rest] = openNote(note, keys, 'a checkpoint').split('\n');
  must(name === origin && /^(0|[1-9]\d*)$/.test(size ?? '') && rest.at(-1) === '', 'a checkpoint is not one of this ledger');
  const hash = Buffer.from(root ?? '', 'base64');
  must(hash.length === 32 && hash.toString('base64') === root, 'a checkpoint has no root');
  return { size: Number(size), root: hash };
}

// ---- proofs, as the recursive definitions of RFC 9162, section 2.1, read backwards

const half = (size) => 2 ** Math.ceil(Math.log2(size) - 1);

function rootOfInclusion(hash, index, size, proof) {
  if (size === 1) return proof.length === 0 ? hash : undefined;
  const sibling = proof.at(-1);
  if (!sibling) return undefined;
  const left = half(size);
  const below =
    index < left
      ? rootOfInclusion(hash, index, left, proof.slice(0, -1))
      : rootOfInclusion(hash, index - left, size - left, proof.slice(0, -1));
  return below && (index < left ? node(below, sibling) : node(sibling, below));
}

/** Both roots that the proof leads to. */
function rootsOfConsistency(older, newer, proof, oldRoot, isWhole = true) {
  if (older === newer) {
    if (isWhole) return proof.length === 0 ? [oldRoot, oldRoot] : [];
    return proof.length === 1 ? [proof[0], proof[0]] : [];
  }
  const sibling = proof.at(-1);
  if (!sibling) return [];
  const left = half(newer);
  const rest = proof.slice(0, -1);
  if (older <= left) {
    const [one, other] = rootsOfConsistency(older, left, rest, oldRoot, isWhole);
    return one ? [one, node(other, sibling)] : [];
  }
  const [one, other] = rootsOfConsistency(older - left, newer - left, rest, oldRoot, false);
  return one ? [node(sibling, one), node(sibling, other)] : [];
}

const equal = (one, other) => one !== undefined && other !== undefined && Buffer.compare(one, other) === 0;
const hashesOf = (proof) => {
  const hashes = proof.map((text) => Buffer.from(text, 'base64'));
  must(
    proof.length <= 64 && hashes.every((hash, i) => hash.length === 32 && hash.toString('base64') === proof[i]),
    'a proof is not made of hashes',
  );
  return hashes;
};

// ---- the bundle

const lines = readFileSync(file, 'utf8').match(/[^\n]*\n|[^\n]+$/g) ?? [];
must(
  lines.every((line) => line.endsWith('\n')),
  'the last line has no end',
);
const header = parse((lines[0] ?? '').slice(0, -1), 'the first line');
try {
  if (header) check(header);
} catch {
  must(false, 'the line does not have the form that it should');
}
console.log(faults.length === 0 ? 'ok' : faults.join('\n'));
process.exitCode = faults.length === 0 ? 0 : 1;

function check({ format, version, origin, device, keys, deviceKeys, checkpoint, earlier, entries }) {
  if (!must(format === 'waypost-ledger-bundle' && version === 1, 'this is no bundle of version 1')) return;
  const ledgerKeys = (trustedKeys.length > 0 ? trustedKeys : keys).map(readVerifierKey);
  if (trustedKeys.length > 0)
    must(
      keys.some((key) => trustedKeys.includes(key)),
      'none of the keys is trusted',
    );
  const devices = new Map();
  for (const { thumbprint, publicKey } of deviceKeys) {
    const digest = sha256(`{"crv":"Ed25519","kty":"OKP","x":"${publicKey}"}`).toString('base64url');
    if (must(digest === thumbprint, 'a key of the device has another thumbprint'))
      devices.set(thumbprint, ed25519(Buffer.from(publicKey, 'base64url')));
  }
  const tree = openCheckpoint(checkpoint, origin, ledgerKeys);
  let newer = tree;
  for (const one of earlier.toReversed()) {
    const older = openCheckpoint(one.checkpoint, origin, ledgerKeys);
    const roots = older.size === 0 ? [older.root, newer.root] : rootsOfConsistency(older.size, newer.size, hashesOf(one.proof), older.root);
    must(
      older.size <= newer.size && equal(roots[0], older.root) && equal(roots[1], newer.root),
      'a checkpoint does not continue the one before it',
    );
    newer = older;
  }
  must(lines.length === entries + 2, 'there are not as many entries as the first line says');

  const chains = new Map();
  let last = -1;
  for (let i = 1; i < lines.length - 1; i += 1) {
    at = i + 1;
    const line = parse(lines[i].slice(0, -1), 'the line');
    if (!line || !must(Array.isArray(line.proof) && typeof line.entry === 'string' && Number.isSafeInteger(line.index), 'this is no entry'))
      continue;
    must(line.index > last && line.index < tree.size, 'the leaf is out of order');
    last = Math.max(last, line.index);
    must(equal(rootOfInclusion(leaf(line.entry), line.index, tree.size, hashesOf(line.proof)), tree.root), 'the leaf is not in the tree');
    const entry = parse(line.entry, 'the entry');
    if (!entry || !must(entry.version === 1 && ['receipt', 'polls'].includes(entry.kind), 'the entry is of an unknown kind')) continue;
    if (entry.kind === 'polls') must(entry.device === device, 'the polls are those of another device');
    else checkReceipt(entry, device, devices, chains);
  }

  at = lines.length;
  const seal = parse((lines.at(-1) ?? '').slice(0, -1), 'the seal');
  if (!seal || !must(typeof seal.seal === 'string', 'there is no seal')) return;
  const [name, what, first, all, end, more] = openNote(seal.seal, ledgerKeys, 'the seal').split('\n');
  must(name === origin && what === 'waypost-ledger-bundle v1' && end === '' && more === undefined, 'the seal is not one of a bundle');
  must(all === sha256(lines.slice(0, -1).join('')).toString('base64'), 'the lines are not those that were sealed');
  at = 1;
  must(first === sha256(lines[0]).toString('base64'), 'the first line is not the one that was sealed');
}

function checkReceipt({ receipt: body, signature }, device, devices, chains) {
  const receipt = parse(body, 'the receipt');
  if (!receipt) return;
  must(receipt.device === device, 'the receipt is that of another device');
  const key = devices.get(receipt.key);
  const bytes = Buffer.from(signature, 'base64url');
  must(bytes.toString('base64url') === signature, 'the signature is not canonical');
  must(key && verify(null, Buffer.from(`waypost receipt v1\n${body}`), key, bytes), 'the device did not sign the receipt');
  must((receipt.sequence === 1) === (receipt.previous === null), 'the receipt does not say what is before it');
  const before = chains.get(receipt.key);
  if (before)
    must(receipt.sequence === before.sequence + 1 && receipt.previous === before.sha256, 'the receipt does not follow the one before it');
  chains.set(receipt.key, { sequence: receipt.sequence, sha256: sha256(body).toString('hex') });
}

import { generateKeyPairSync } from 'node:crypto';
import { formatEntry, parseEntry } from './ledger-entry.js';
import { parseReceipt, type Receipt, receiptSha256, signReceipt, verifiesReceipt } from './signed-receipt.js';

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const ULID = '01ARZ3NDEKTSV4RRFFQ69G5FAV';
const RECEIPT: Receipt = {
  version: 1,
  fleet: ULID,
  device: ULID,
  mac: '02:00:00:00:00:01',
  key: 'k'.repeat(43),
  sequence: 1,
  previous: null,
  manifestId: ULID,
  manifestSha256: 'a'.repeat(64),
  result: 'Success',
  error: null,
  tables: [{ name: 'vaults', rowCount: 3, sha256: 'b'.repeat(64), read: 'whole' }],
  startedAt: '2026-01-01T00:00:00.000Z',
  completedAt: '2026-01-01T00:00:01.000Z',
};

test('a receipt is read as it was signed, and its key verifies it', () => {
  const signed = signReceipt(RECEIPT, privateKey);
  expect(parseReceipt(signed.body)).toEqual(RECEIPT);
  expect(verifiesReceipt(signed, publicKey)).toBe(true);
  expect(receiptSha256(signed.body)).toMatch(/^[0-9a-f]{64}$/);
});

test('another key, another byte, or another form of the signature is not accepted', () => {
  const signed = signReceipt(RECEIPT, privateKey);
  expect(verifiesReceipt(signed, generateKeyPairSync('ed25519').publicKey)).toBe(false);
  for (let at = 0; at < signed.body.length; at += 1) {
    const body = `${signed.body.slice(0, at)}${signed.body[at] === '1' ? '2' : '1'}${signed.body.slice(at + 1)}`;
    expect(verifiesReceipt({ ...signed, body }, publicKey)).toBe(false);
  }
  // The last digit of 86 carries four bits that are not part of the 64 bytes.
  const last = signed.signature.at(-1) as string;
  const other = { A: 'B', Q: 'R', g: 'h', w: 'x' }[last] as string;
  expect(verifiesReceipt({ ...signed, signature: signed.signature.slice(0, -1) + other }, publicKey)).toBe(false);
});

test.each<[string, (body: string) => string]>([
  ['no JSON', () => '{'],
  ['white space', (body) => body.replace(',', ', ')],
  ['another order of members', (body) => `{"version":1,${body.slice(1).replace(',"version":1', '')}`],
  ['an unknown member', (body) => body.replace('{', '{"a":1,')],
  ['a member twice', (body) => body.replace('{', '{"completedAt":"2026-01-01T00:00:00.000Z",')],
  ['a first receipt with one before it', (body) => body.replace('"previous":null', `"previous":"${'0'.repeat(64)}"`)],
  ['a later receipt without one before it', (body) => body.replace('"sequence":1', '"sequence":2')],
])('a body with %s is refused', (_, change) => {
  const { body } = signReceipt(RECEIPT, privateKey);
  expect(change(body)).not.toBe(body);
  expect(() => parseReceipt(change(body))).toThrow('The receipt is not valid');
});

test('an entry is read in its canonical form alone', () => {
  const { body, signature } = signReceipt(RECEIPT, privateKey);
  const entry = { version: 1, kind: 'receipt', receipt: body, signature, ack: { id: 1, sha256: 'c'.repeat(64) } } as const;
  const text = formatEntry(entry);
  expect(parseEntry(text)).toEqual(entry);
  for (const wrong of ['', `${text} `, text.replace('"kind":"receipt"', '"kind":"rumour"')])
    expect(() => parseEntry(wrong)).toThrow('not in the canonical form');
});

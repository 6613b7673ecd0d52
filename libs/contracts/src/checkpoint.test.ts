import fc from 'fast-check';
import { ROOTS } from '../testing/certificate-transparency.js';
import { ENOCH, PETER, seededKey } from '../testing/note-keys.js';
import {
  type Checkpoint,
  formatCheckpoint,
  MAX_CHECKPOINT_BYTES,
  MAX_CHECKPOINT_LINES,
  parseCheckpoint,
  signCheckpoint,
  verifyCheckpoint,
} from './checkpoint.js';
import { EMPTY_ROOT, MAX_TREE_SIZE } from './merkle-tree.js';
import { signNote, verifierKeyOf } from './signed-note.js';

const ORIGIN = 'central.example/ledger';
const LEDGER = seededKey(ORIGIN, Buffer.alloc(32, 1));
const ledger = verifierKeyOf(LEDGER);
const ROOT = Buffer.from(ROOTS[8]!, 'hex');
const BASE64 = ROOT.toString('base64');
const EIGHT: Checkpoint = { origin: ORIGIN, size: 8, root: ROOT, extensions: [] };
const invalid = expect.objectContaining({ code: 'LEDGER_INVALID' }) as Error;

// The example of C2SP's tlog-checkpoint.
const EXAMPLE = 'example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n';

test('C2SP’s example is read and written as it is', () => {
  const checkpoint = parseCheckpoint(EXAMPLE);
  expect(checkpoint).toEqual({
    origin: 'example.com/behind-the-sofa',
    size: 20852163,
    root: Buffer.from('0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62', 'hex'),
    extensions: [],
  });
  expect(formatCheckpoint(checkpoint)).toBe(EXAMPLE);
});

test('a signed checkpoint has these bytes', () => {
  const note = signCheckpoint(EIGHT, [LEDGER]);
  expect(note).toBe(GOLDEN);
  expect(verifyCheckpoint(note, { origin: ORIGIN, keys: [ledger] })).toEqual({ ...EIGHT, signedBy: [ledger] });
});

test('witnesses may sign beside the ledger, and their signatures alone are not its own', () => {
  const note = signCheckpoint(EIGHT, [LEDGER, PETER, ENOCH]);
  const witness = verifierKeyOf(ENOCH);
  expect(verifyCheckpoint(note, { origin: ORIGIN, keys: [ledger] }).signedBy).toEqual([ledger]);
  expect(verifyCheckpoint(note, { origin: ORIGIN, keys: [ledger, witness] }).signedBy).toEqual([ledger, witness]);
  expect(() => verifyCheckpoint(signCheckpoint(EIGHT, [ENOCH]), { origin: ORIGIN, keys: [ledger] })).toThrow(invalid);
});

test('a checkpoint of another ledger is refused, even with a trusted signature', () => {
  const note = signCheckpoint({ ...EIGHT, origin: 'other.example/ledger' }, [LEDGER]);
  expect(() => verifyCheckpoint(note, { origin: ORIGIN, keys: [ledger] })).toThrow(invalid);
});

test('a note that is signed and not a checkpoint is refused', () => {
  const note = signNote('hello\n', [LEDGER]);
  expect(() => verifyCheckpoint(note, { origin: ORIGIN, keys: [ledger] })).toThrow(invalid);
});

test('extension lines are kept', () => {
  const checkpoint = { ...EIGHT, extensions: ['one', 'two words', '— three AAAA'] };
  expect(verifyCheckpoint(signCheckpoint(checkpoint, [LEDGER]), { origin: ORIGIN, keys: [ledger] })).toEqual({
    ...checkpoint,
    signedBy: [ledger],
  });
});

test('an origin need not be a URL, and the tree may be empty or as large as any', () => {
  for (const size of [0, 1, 2 ** 32, MAX_TREE_SIZE]) {
    const checkpoint = { origin: 'Grüße + Küsse', size, root: EMPTY_ROOT, extensions: [] };
    expect(parseCheckpoint(formatCheckpoint(checkpoint))).toEqual(checkpoint);
  }
});

test.each([
  ['nothing', ''],
  ['no line feed at its end', EXAMPLE.slice(0, -1)],
  ['two lines', 'origin\n8\n'],
  ['no origin', `\n8\n${BASE64}\n`],
  ['an empty line', `origin\n8\n${BASE64}\n\n`],
  ['an empty extension', `origin\n8\n${BASE64}\n\nmore\n`],
  ['no size', `origin\n\n${BASE64}\n`],
  ['a leading zero', `origin\n08\n${BASE64}\n`],
  ['two zeros', `origin\n00\n${BASE64}\n`],
  ['a sign', `origin\n+8\n${BASE64}\n`],
  ['a negative size', `origin\n-8\n${BASE64}\n`],
  ['a fraction', `origin\n8.0\n${BASE64}\n`],
  ['an exponent', `origin\n1e3\n${BASE64}\n`],
  ['hex', `origin\n0x8\n${BASE64}\n`],
  ['a space', `origin\n8 \n${BASE64}\n`],
  ['other digits', `origin\n８\n${BASE64}\n`],
  ['a size beyond exact numbers', `origin\n9007199254740992\n${BASE64}\n`],
  ['a size without end', `origin\n${'9'.repeat(400)}\n${BASE64}\n`],
  ['a short root', `origin\n8\n${ROOT.subarray(1).toString('base64')}\n`],
  ['a long root', `origin\n8\n${Buffer.alloc(33).toString('base64')}\n`],
  ['a root in hex', `origin\n8\n${ROOTS[8]}\n`],
  ['a root without padding', `origin\n8\n${BASE64.slice(0, -1)}\n`],
  ['a root with other bits at its end', `origin\n8\n${BASE64.slice(0, -2)}h=\n`],
  ['carriage returns', `origin\r\n8\r\n${BASE64}\r\n`],
  ['a control character', `ori\tgin\n8\n${BASE64}\n`],
  ['a lone surrogate', `ori\ud800gin\n8\n${BASE64}\n`],
  ['too many lines', `origin\n8\n${BASE64}\n${'x\n'.repeat(MAX_CHECKPOINT_LINES - 2)}`],
  ['too many bytes', `${'x'.repeat(MAX_CHECKPOINT_BYTES)}\n8\n${BASE64}\n`],
])('a checkpoint with %s is refused', (_, text) => {
  expect(() => parseCheckpoint(text)).toThrow(invalid);
});

test('what no checkpoint can say is not written', () => {
  const wrong: Partial<Checkpoint>[] = [
    { origin: '' },
    { origin: 'evil\n999' },
    { origin: 'ori\tgin' },
    { origin: '\ud800' },
    { size: -1 },
    { size: 0.5 },
    { size: NaN },
    { size: 2 ** 53 },
    { root: Buffer.alloc(31) },
    { root: Buffer.alloc(33) },
    { extensions: [''] },
    { extensions: ['a\n'] },
    { extensions: new Array<string>(MAX_CHECKPOINT_LINES - 2).fill('x') },
    { origin: 'x'.repeat(MAX_CHECKPOINT_BYTES) },
  ];
  for (const change of wrong) expect(() => formatCheckpoint({ ...EIGHT, ...change })).toThrow(RangeError);
});

test('what is written is read as it was, at the limits, too', () => {
  const line = fc
    .string({ unit: 'binary', minLength: 1, maxLength: 20 })
    .map((text) => text.toWellFormed())
    .filter((text) => !/[\0-\x1f]/.test(text));
  const checkpoint = fc.record({
    origin: line,
    size: fc.integer({ min: 0, max: MAX_TREE_SIZE }),
    root: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes)),
    extensions: fc.array(line, { maxLength: MAX_CHECKPOINT_LINES - 3 }),
  });
  fc.assert(
    fc.property(checkpoint, (one) => {
      expect(parseCheckpoint(formatCheckpoint(one))).toEqual(one);
    }),
    { numRuns: 150 },
  );
});

test('what is read is written as it was, and anything else is refused', () => {
  const line = fc.oneof(fc.constantFrom('origin', '8', '0', '08', '-1', BASE64, '', '\r'), fc.string({ unit: 'binary' }));
  fc.assert(
    fc.property(fc.array(line, { maxLength: 6 }), fc.constantFrom('\n', ''), (lines, end) => {
      const text = lines.join('\n') + end;
      try {
        expect(formatCheckpoint(parseCheckpoint(text))).toBe(text);
      } catch (error) {
        expect(error).toEqual(invalid);
      }
    }),
    { numRuns: 1000 },
  );
});

// A program in Python after RFC 8032’s appendix signed it, too.
const GOLDEN = `central.example/ledger
8
XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=

— central.example/ledger mzq2Wb1qZq+yFBt3UdcGhmAFti+0Zhj6+oNK3jIHAlfo3BXNt6PL3UZ7h0SCJPPE1oLPovuLxaRFaXdt1zVl+mBu6w0=
`;

import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { ENOCH, ENOCH_LINE, ENOCH_VKEY, PETER, PETER_LINE, PETER_VKEY, seededKey, TEXT } from '../testing/note-keys.js';
import {
  formatVerifierKey,
  isKeyName,
  MAX_NOTE_BYTES,
  MAX_NOTE_SIGNATURES,
  namesKey,
  parseVerifierKey,
  signNote,
  verifierKey,
  verifierKeyOf,
  verifyNote,
} from './signed-note.js';

const [peter, enoch] = [parseVerifierKey(PETER_VKEY), parseVerifierKey(ENOCH_VKEY)];
const NOTE = `${TEXT}\n${PETER_LINE}${ENOCH_LINE}`;
const invalid = (detail?: RegExp): Error =>
  expect.objectContaining({ code: 'LEDGER_INVALID', ...(detail && { detail: expect.stringMatching(detail) }) }) as Error;

/** A line with the key's name and id, and other bytes as signature. */
function lineOf(vkey: string, signature: Buffer): string {
  const [name, id] = vkey.split('+');
  return `— ${name} ${Buffer.concat([Buffer.from(id!, 'hex'), signature]).toString('base64')}\n`;
}

describe('a note', () => {
  test('is signed as Go signs it', () => {
    expect(signNote(TEXT, [PETER, ENOCH])).toBe(NOTE);
    expect(formatVerifierKey(verifierKeyOf(PETER))).toBe(PETER_VKEY);
    expect(formatVerifierKey(verifierKeyOf(ENOCH))).toBe(ENOCH_VKEY);
  });

  test('that Go signed is verified by the keys that are known', () => {
    expect(verifyNote(NOTE, [enoch, peter])).toEqual({ text: TEXT, signedBy: [peter, enoch] });
    expect(verifyNote(NOTE, [peter])).toEqual({ text: TEXT, signedBy: [peter] });
    expect(verifyNote(NOTE, [enoch])).toEqual({ text: TEXT, signedBy: [enoch] });
  });

  test('of C2SP’s example key is verified', () => {
    const line = '— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n';
    const key = parseVerifierKey('example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k');
    expect(verifyNote(`This is an example message.\n\n${line}`, [key]).signedBy).toEqual([key]);
  });

  test('that no known key signed is refused', () => {
    const stranger = verifierKeyOf(seededKey('stranger', Buffer.alloc(32, 7)));
    for (const keys of [[], [stranger]]) expect(() => verifyNote(NOTE, keys)).toThrow(invalid(/no key that is trusted signed it/));
  });

  test('may have unknown signatures, of any algorithm and length, also under a known name or a known id', () => {
    const unknown = [
      lineOf('witness.example+00000001', Buffer.alloc(1)),
      lineOf('witness.example+00000002', Buffer.alloc(5000)),
      lineOf('PeterNeumann+00000003', Buffer.alloc(64)),
      lineOf('OtherPeter+c74f20a3', Buffer.alloc(64)),
    ];
    for (const line of unknown) {
      expect(verifyNote(`${TEXT}\n${line}${PETER_LINE}`, [peter, enoch]).signedBy).toEqual([peter]);
      expect(() => verifyNote(`${TEXT}\n${line}`, [peter, enoch])).toThrow(invalid());
    }
  });

  test('with one bad signature of a known key is refused, whatever else signed it', () => {
    const bad = [Buffer.alloc(64), Buffer.alloc(63), Buffer.alloc(65), Buffer.alloc(1)].map((bytes) => lineOf(ENOCH_VKEY, bytes));
    for (const line of bad) {
      for (const lines of [PETER_LINE + line, line + PETER_LINE, PETER_LINE + ENOCH_LINE + line]) {
        expect(() => verifyNote(`${TEXT}\n${lines}`, [peter, enoch])).toThrow(invalid(/EnochRoot\+af0cfe78 does not verify/));
      }
    }
  });

  test('says whose signatures it claims, right or wrong', () => {
    expect([[peter], [enoch], []].map((keys) => namesKey(`${TEXT}\n${PETER_LINE}`, keys))).toEqual([true, false, false]);
    expect(namesKey(`${TEXT}\n${lineOf(ENOCH_VKEY, Buffer.alloc(64))}`, [peter, enoch])).toBe(true);
    expect(() => namesKey(TEXT, [peter])).toThrow(invalid());
  });

  test('names a key once that signed it twice', () => {
    expect(verifyNote(`${TEXT}\n${PETER_LINE}${PETER_LINE}`, [peter, peter]).signedBy).toEqual([peter]);
  });

  test('is verified by the right one of two keys that share name and id', () => {
    const twin = { ...enoch, name: peter.name, id: peter.id };
    for (const keys of [
      [twin, peter],
      [peter, twin],
    ])
      expect(verifyNote(`${TEXT}\n${PETER_LINE}`, keys).signedBy).toEqual([peter]);
    expect(() => verifyNote(`${TEXT}\n${PETER_LINE}`, [twin])).toThrow(invalid());
  });

  test('may have empty lines in its text', () => {
    for (const text of ['\n', '\n\n', 'a\n\n', 'a\n\nb\n', '\n\na\n', `a\n\n${ENOCH_LINE}`]) {
      expect(verifyNote(signNote(text, [PETER]), [peter, enoch])).toEqual({ text, signedBy: [peter] });
    }
  });

  test('in which any byte is changed is refused', () => {
    const bytes = Buffer.from(signNote(TEXT, [PETER]));
    for (let at = 0; at < bytes.length; at += 1) {
      for (const mask of [0x01, 0x20]) {
        const changed = Buffer.from(bytes);
        changed[at] = changed[at]! ^ mask;
        expect(() => verifyNote(changed.toString(), [peter])).toThrow(invalid());
      }
    }
  });

  test('that ends early is refused', () => {
    for (let length = 0; length < NOTE.length; length += 1) {
      if (`${TEXT}\n${PETER_LINE}`.length === length) continue;
      expect(() => verifyNote(NOTE.slice(0, length), [peter, enoch])).toThrow(invalid());
    }
  });

  test.each([
    ['no empty line', `${TEXT}${PETER_LINE}`],
    ['no text', `\n${PETER_LINE}`],
    ['no signature', `${TEXT}\n`],
    ['text behind the signatures', `${TEXT}\n${PETER_LINE}\n${TEXT}`],
    ['text among the signatures', `${TEXT}\n${PETER_LINE}text\n`],
    ['an empty line behind the signatures', `${TEXT}\n${PETER_LINE}\n`],
    ['a line feed with a carriage return', NOTE.replaceAll('\n', '\r\n')],
    ['a hyphen for the dash', `${TEXT}\n${PETER_LINE}${ENOCH_LINE.replace('—', '-')}`],
    ['two spaces', `${TEXT}\n${PETER_LINE}${ENOCH_LINE.replace(' rwz', '  rwz')}`],
    ['a space at the end', `${TEXT}\n${PETER_LINE}${ENOCH_LINE.replace('\n', ' \n')}`],
    ['a name with a plus', `${TEXT}\n${PETER_LINE}— a+b AAAAAAA=\n`],
    ['a name with a Unicode space', `${TEXT}\n${PETER_LINE}— a\u3000b AAAAAAA=\n`],
    ['no name', `${TEXT}\n${PETER_LINE}—  AAAAAAA=\n`],
    ['no signature’s bytes', `${TEXT}\n${PETER_LINE}— name AAAAAA==\n`],
    ['base64 without padding', `${TEXT}\n${PETER_LINE.replace('=', '')}`],
    ['base64 with other bits at its end', `${TEXT}\n${PETER_LINE.replace('M=', 'N=')}`],
    ['base64 of URLs', `${TEXT}\n${PETER_LINE}— name ____AAA=\n`],
    ['a control character', `a\tb\n\n${PETER_LINE}`],
    ['a zero byte', `a\0b\n\n${PETER_LINE}`],
    ['a lone surrogate', `a\ud800\n\n${PETER_LINE}`],
  ])('with %s is refused', (_, note) => {
    expect(() => verifyNote(note, [peter, enoch])).toThrow(invalid());
  });

  test('is refused when it is too long, or has too many signatures, and accepted just below', () => {
    const unknown = lineOf('witness.example+00000001', Buffer.alloc(64));
    const signed = (count: number): string => `${TEXT}\n${PETER_LINE}${unknown.repeat(count - 1)}`;
    expect(verifyNote(signed(MAX_NOTE_SIGNATURES), [peter]).signedBy).toEqual([peter]);
    expect(() => verifyNote(signed(MAX_NOTE_SIGNATURES + 1), [peter])).toThrow(invalid(/more than 64 signatures/));
    const longest = 'x'.repeat(MAX_NOTE_BYTES - Buffer.byteLength(`\n\n${PETER_LINE}`));
    expect(verifyNote(signNote(`${longest}\n`, [PETER]), [peter]).signedBy).toEqual([peter]);
    expect(() => signNote(`${longest}x\n`, [PETER])).toThrow(RangeError);
    expect(() => verifyNote(`${longest}x\n\n${PETER_LINE}`, [peter])).toThrow(invalid(/more than 262144 bytes/));
    expect(() => verifyNote(`${longest.slice(1)}ü\n\n${PETER_LINE}`, [peter])).toThrow(invalid(/more than 262144 bytes/));
  });

  test('of sixteen post-quantum signatures is short enough', () => {
    const witnesses = Array.from({ length: 15 }, (_, at) => lineOf(`witness.example/${at}+00000001`, Buffer.alloc(5000))).join('');
    expect(verifyNote(`${TEXT}\n${witnesses}${PETER_LINE}`, [peter]).signedBy).toEqual([peter]);
  });

  test('of any text and any signers is verified, and of any other text refused', () => {
    const line = fc.string({ unit: 'binary', maxLength: 20 }).map((text) => text.replace(/[\0-\x1f]/g, '').toWellFormed());
    const text = fc.array(line, { minLength: 1, maxLength: 3 }).map((lines) => `${lines.join('\n')}\n`);
    const key = fc.tuple(fc.constantFrom('a', 'b', '—', 'example.com/é'), fc.uint8Array({ minLength: 32, maxLength: 32 }));
    const keys = fc.array(key, { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(text, text, keys, (one, other, seeds) => {
        const signers = seeds.map(([name, seed]) => seededKey(name, Buffer.from(seed)));
        const note = signNote(one, signers);
        const known = signers.map(verifierKeyOf);
        expect(verifyNote(note, known).text).toBe(one);
        if (one !== other) expect(() => verifyNote(other + note.slice(one.length), known)).toThrow(invalid());
      }),
      { numRuns: 50 },
    );
  });

  test('that is anything else is refused with a reason', () => {
    const part = fc.constantFrom('\n', '\n\n', '—', ' ', '— ', 'PeterNeumann', TEXT, PETER_LINE, 'AAAAAAA=', '+', '\0', '\ud800');
    fc.assert(
      fc.property(fc.array(fc.oneof(part, fc.string({ unit: 'binary' })), { maxLength: 12 }), (parts) => {
        const note = parts.join('');
        try {
          expect(verifyNote(note, [peter]).text).toBe(TEXT);
        } catch (error) {
          expect(error).toEqual(invalid());
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe('signing', () => {
  test.each(['', 'no line feed', 'tab\t\n', 'return\r\n', 'zero\0\n', '\ud800\n'])('refuses the text %j', (text) => {
    expect(() => signNote(text, [PETER])).toThrow(RangeError);
  });

  test('needs a signer, a name and a private key of Ed25519', () => {
    const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const x25519 = generateKeyPairSync('x25519');
    expect(() => signNote(TEXT, [])).toThrow(RangeError);
    expect(() => signNote(TEXT, new Array<typeof PETER>(MAX_NOTE_SIGNATURES + 1).fill(PETER))).toThrow(RangeError);
    for (const name of ['', 'a b', 'a+b', 'a\u00a0b', 'a\nb', 'a\0b']) {
      expect(isKeyName(name)).toBe(false);
      expect(() => signNote(TEXT, [{ ...PETER, name }])).toThrow(RangeError);
    }
    for (const privateKey of [p256.privateKey, x25519.privateKey, createPublicKey(PETER.privateKey)]) {
      expect(() => signNote(TEXT, [{ name: 'a', privateKey }])).toThrow(RangeError);
    }
    for (const publicKey of [p256.publicKey, PETER.privateKey]) expect(() => verifierKey('a', publicKey)).toThrow(RangeError);
  });
});

describe('a verifier key', () => {
  test.each([
    PETER_VKEY,
    ENOCH_VKEY,
    'sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8',
    'TEST+7997405c+AQcC+FTVKf0jlTdHDY3rbevmnKxxPjigCXlVtGe6RIr6',
  ])('%s is read and written as it is', (text) => {
    const key = parseVerifierKey(text);
    expect(formatVerifierKey(key)).toBe(text);
    expect(verifierKey(key.name, key.publicKey)).toEqual(key);
  });

  test.each([
    ['', /form/],
    ['PeterNeumann', /form/],
    ['PeterNeumann+c74f20a3', /form/],
    ['PeterNeumann+c74f20a3+', /form/],
    ['+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW', /form/],
    ['Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW', /form/],
    ['PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW', /form/],
    ['PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n', /base64|form/],
    ['PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq_LDE4izWy10TW', /base64/],
    ['PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T', /base64/],
    ['PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy', /32 bytes/],
    ['PeterNeumann+c74f20a2+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW', /id/],
    ['PeterNeumanm+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW', /id/],
    ['remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2', /Ed25519/],
    ['PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz', /form/],
  ])('%j is refused', (text, detail) => {
    expect(() => parseVerifierKey(text)).toThrow(invalid(detail));
  });
});

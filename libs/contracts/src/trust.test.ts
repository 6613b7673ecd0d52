import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { signCheckpoint, verifyCheckpoint } from './checkpoint.js';
import { keyThumbprint } from './identity.js';
import { formatVerifierKey, parseVerifierKey } from './signed-note.js';
import {
  checkManifestSignature,
  ledgerKeysOf,
  type ManifestSignature,
  openSuccessor,
  openTrust,
  type SignedTrust,
  type Signer,
  signManifest,
  signTrust,
  type TrustDocument,
} from './trust.js';

const FLEET = '01JD8Y2M3N4P5Q6R7S8T9VWXYZ';
const SHA256 = 'a3a3d2fc365b038c11ca659ba4f60a2ba7053d49c894fe11789d6ba775332d24';
const NOW = new Date('2026-11-28T12:00:00.000Z');

/** A key whose seed is this byte 32 times. */
function keyOf(byte: number): Signer & { x: string } {
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32, byte)]);
  const privateKey: KeyObject = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const { x } = createPublicKey(privateKey).export({ format: 'jwk' }) as { x: string };
  return { kid: keyThumbprint(x), x, privateKey };
}

const [root, nextRoot, online, nextOnline] = [1, 2, 3, 4].map(keyOf) as [ReturnType<typeof keyOf>, ...ReturnType<typeof keyOf>[]] as [
  ReturnType<typeof keyOf>,
  ReturnType<typeof keyOf>,
  ReturnType<typeof keyOf>,
  ReturnType<typeof keyOf>,
];
const nameOf = ({ kid, x }: { kid: string; x: string }) => ({ kid, x });

const FIRST: TrustDocument = {
  version: 1,
  fleet: FLEET,
  issuedAt: '2026-11-28T00:00:00.000Z',
  rootKeys: [nameOf(root)],
  keys: [{ ...nameOf(online), use: 'manifest', expiresAt: '2027-11-28T00:00:00.000Z' }],
};
const second = (change: Partial<TrustDocument> = {}): TrustDocument => ({ ...FIRST, version: 2, ...change });
const statement = { fleet: FLEET, sha256: SHA256, issuedAt: '2026-11-28T12:00:00.000Z', trust: 1 };
const check =
  (signature: ManifestSignature, trusted = FIRST, time = NOW, sha256 = SHA256) =>
  () =>
    checkManifestSignature(trusted, { sha256, signature, time });

/** Ed25519 signatures are the same each time: other implementations can compare theirs. */
test('golden vectors: names of keys, signatures of a trust document and of a manifest', () => {
  expect(root.kid).toBe('UDDReOZl1ipXAfp9wYsm13sDBMK5og--QWdBjzuf6o4');
  expect(signTrust(FIRST, [root]).signatures).toEqual([
    { kid: root.kid, signature: 'PrSRrgbqqH3Q8T2h33CvTGpx1xoywFTxVifCpCKeZo7IGJrQX-7wthiV2jhplvoGo5bunPESmYh688ORRnNrAA' },
  ]);
  expect(signManifest(online, statement)).toEqual({
    kid: online.kid,
    issuedAt: statement.issuedAt,
    trust: 1,
    signature: 'rLCWM9C13nfwsQlMT0OfUbobbKpNyEArnA7iCSdYy9C_Ztj2kIDS1V9UIAyk2OMP4RPV9rScXpl0lVGzJC4BAg',
  });
});

describe('a trust document', () => {
  test('is believed when one of its own root keys signed it, with members that this version does not know', () => {
    const signed = signTrust({ ...FIRST, more: { a: [1] } } as TrustDocument, [root]);
    expect(openTrust(JSON.parse(JSON.stringify(signed)))).toEqual(signed);
  });

  test.each<[string, (signed: SignedTrust) => unknown, RegExp]>([
    ['nothing', () => undefined, /malformed/],
    ['one that another key signed', () => signTrust(FIRST, [nextRoot]), /not signed by a root key of its own/],
    ['one that an online key signed', () => signTrust(FIRST, [online]), /not signed/],
    ['one without signatures', (signed) => ({ ...signed, signatures: [] }), /malformed/],
    ['one that was altered', (signed) => ({ ...signed, document: { ...signed.document, version: 2 } }), /not signed/],
    ['one with a member more', (signed) => ({ ...signed, document: { ...signed.document, more: 1 } }), /not signed/],
    [
      'one with a signature under another name',
      (signed) => ({ ...signed, signatures: [{ ...signed.signatures[0], kid: online.kid }] }),
      /not signed/,
    ],
    [
      'one with a key under another name',
      () => signTrust({ ...FIRST, keys: [{ ...FIRST.keys[0]!, kid: nextOnline.kid }] }, [root]),
      /thumbprint/,
    ],
    ['one that names a key twice', () => signTrust({ ...FIRST, keys: [FIRST.keys[0]!, FIRST.keys[0]!] }, [root]), /each key once/],
    [
      'one with too many root keys',
      () => signTrust({ ...FIRST, rootKeys: Array.from({ length: 9 }, (_, at) => nameOf(keyOf(20 + at))) }, [root]),
      /malformed/,
    ],
    ['one without a canonical form', (signed) => ({ ...signed, document: { ...signed.document, more: '\ud800' } }), /canonical/],
  ])('%s is not believed', (_, alter, why) => {
    expect(() => openTrust(alter(signTrust(FIRST, [root])))).toThrow(
      expect.objectContaining({ code: 'MANIFEST_UNTRUSTED', message: expect.stringMatching(why) as string }) as Error,
    );
  });
});

describe('the keys of the ledger', () => {
  const named = (key: ReturnType<typeof keyOf>, expiresAt: string) => ({ ...nameOf(key), use: 'checkpoint', expiresAt });
  const document: TrustDocument = {
    ...FIRST,
    keys: [...FIRST.keys, named(nextOnline, '2027-11-28T00:00:00.000Z'), named(nextRoot, '2026-11-28T12:00:00.000Z')],
  };
  const origin = `urn:waypost:fleet:${FLEET}`;

  test('are those for checkpoints that have not expired, under the name of the fleet', () => {
    const before = new Date(NOW.getTime() - 1);
    const [first, second] = ledgerKeysOf(document, before)!.keys.map(parseVerifierKey);
    const note = signCheckpoint({ origin, size: 0, root: Buffer.alloc(32), extensions: [] }, [
      { name: origin, privateKey: nextOnline.privateKey },
    ]);
    expect(verifyCheckpoint(note, { origin, keys: [first!] }).size).toBe(0);
    expect(() => verifyCheckpoint(note, { origin, keys: [second!] })).toThrow(/no key that is trusted/);
    expect(ledgerKeysOf(document, before)).toEqual({ origin, keys: [first!, second!].map(formatVerifierKey) });
    expect(ledgerKeysOf(document, NOW)).toEqual({ origin, keys: [formatVerifierKey(first!)] });
  });

  test('are none where all have expired, and unknown where the document names none', () => {
    expect(ledgerKeysOf(document, new Date('2028-01-01T00:00:00.000Z'))).toEqual({ origin, keys: [] });
    expect(ledgerKeysOf(FIRST, NOW)).toBeUndefined();
  });
});

describe('the successor of a trust document', () => {
  test('is signed by the same root key', () => {
    expect(openSuccessor(FIRST, signTrust(second(), [root])).document.version).toBe(2);
  });

  test('names another root key, and both signed it', () => {
    const rotated = second({ rootKeys: [nameOf(nextRoot)] });
    expect(openSuccessor(FIRST, signTrust(rotated, [root, nextRoot])).document).toEqual(rotated);
  });

  test.each<[string, SignedTrust, RegExp]>([
    [
      'of another root key, signed by it alone',
      signTrust(second({ rootKeys: [nameOf(nextRoot)] }), [nextRoot]),
      /version 1, which this device trusts/,
    ],
    ['of another root key, signed by the one before alone', signTrust(second({ rootKeys: [nameOf(nextRoot)] }), [root]), /its own/],
    ['of the same version', signTrust(FIRST, [root]), /where 2 follows/],
    ['that skips a version', signTrust(second({ version: 3 }), [root]), /where 2 follows/],
    ['of another fleet', signTrust(second({ fleet: '01JD8Y2M3N4P5Q6R7S8T9VWXY0' }), [root]), /belongs to/],
  ])('one %s is refused', (_, signed, why) => {
    expect(() => openSuccessor(FIRST, signed)).toThrow(why);
  });
});

describe('the signature of a manifest', () => {
  test('is that of an online key for this manifest, this fleet and this time', () => {
    expect(check(signManifest(online, statement))).not.toThrow();
  });

  test.each<[string, () => void, RegExp]>([
    ['of another manifest', check(signManifest(online, { ...statement, sha256: SHA256.replaceAll('a', 'b') })), /not one of this manifest/],
    ['of another fleet', check(signManifest(online, { ...statement, fleet: '01JD8Y2M3N4P5Q6R7S8T9VWXY0' })), /for the fleet/],
    ['with another time', check({ ...signManifest(online, statement), issuedAt: '2026-11-28T13:00:00.000Z' }), /not one of/],
    ['with another version of the trust document', check({ ...signManifest(online, statement), trust: 2 }), /not one of/],
    ['by a key that is unknown', check(signManifest(nextOnline, statement)), /not in trust document 1/],
    ['by the root key', check(signManifest(root, statement)), /not in trust document 1/],
    ['by another key under the name of the right one', check({ ...signManifest(nextOnline, statement), kid: online.kid }), /not one of/],
    [
      'by a key for something else',
      check(signManifest(online, statement), { ...FIRST, keys: [{ ...FIRST.keys[0]!, use: 'checkpoint' }] }),
      /is for "checkpoint"/,
    ],
    ['by a key that has expired', check(signManifest(online, statement), FIRST, new Date('2027-11-28T00:00:00.000Z')), /expired at/],
    [
      'that claims a time at which its key has expired',
      check(signManifest(online, { ...statement, issuedAt: '2028-01-01T00:00:00Z' })),
      /expired at/,
    ],
  ])('one %s is refused', (_, attempt, why) => {
    expect(attempt).toThrow(
      expect.objectContaining({ code: 'MANIFEST_UNTRUSTED', message: expect.stringMatching(why) as string }) as Error,
    );
  });

  test('stays within its purpose: no signature of a trust document is one of a manifest', () => {
    const [made] = signTrust(FIRST, [online]).signatures;
    expect(check({ ...signManifest(online, statement), signature: made!.signature })).toThrow(/not one of/);
  });
});

import { generateKeyPairSync } from 'node:crypto';
import { jest } from '@jest/globals';
import {
  keyThumbprint,
  type Manifest,
  type ManifestSignature,
  type ManifestStatement,
  type SignedTrust,
  type Signer,
  signManifest,
  signTrust,
  toProblem,
  type TrustDocument,
  WaypostError,
} from '@waypost/contracts';
import { createLogger } from '@waypost/runtime';
import type { CentralCircuit } from '../central/central-circuit.js';
import type { CentralClient } from '../central/central-client.js';
import { refusalError } from '../central/central-errors.js';
import type { IdentityFiles } from '../identity/identity-files.js';
import type { Metrics } from '../metrics/metrics.js';
import { ManifestTrust } from './manifest-trust.js';

const FLEET = '01JD8Y2M3N4P5Q6R7S8T9VWXYZ';
const SHA256 = 'a'.repeat(64);
const START = Date.parse('2026-11-28T12:00:00.000Z');
const HOUR_MS = 3_600_000;
const manifest = {
  manifestId: '01J9ZK4Q8V5N6M7P8R9S0T1V2W',
  sha256: SHA256,
  generatedAt: new Date(START).toISOString(),
  expiresAt: new Date(START + 24 * HOUR_MS).toISOString(),
} as Manifest;

type Key = Signer & { x: string };

function makeKey(): Key {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const { x } = publicKey.export({ format: 'jwk' }) as { x: string };
  return { kid: keyThumbprint(x), x, privateKey };
}

const [root, one, two, three] = [makeKey(), makeKey(), makeKey(), makeKey()];

function documentOf(version: number, keys: readonly Key[], change: Partial<TrustDocument> = {}): SignedTrust {
  const named = keys.map(({ kid, x }) => ({ kid, x, use: 'manifest', expiresAt: new Date(START + 365 * 24 * HOUR_MS).toISOString() }));
  const document = {
    version,
    fleet: FLEET,
    issuedAt: new Date(START).toISOString(),
    rootKeys: [{ kid: root.kid, x: root.x }],
    keys: named,
    ...change,
  };
  return signTrust(document, [root]);
}

/** What central has, what the device stores, and what it asked for. */
class Bench {
  stored: SignedTrust | undefined = documentOf(1, [one]);
  fleet: string | undefined = FLEET;
  documents: Record<number, unknown> = {};
  readonly asked: number[] = [];
  readonly trust: ManifestTrust;

  constructor() {
    const files = {
      trust: async () => this.stored,
      storeTrust: async (signed: SignedTrust) => void (this.stored = signed),
      identity: async () => (this.fleet === undefined ? undefined : { fleet: this.fleet }),
    } as unknown as IdentityFiles;
    const central = {
      fetchTrust: async (version: number) => {
        this.asked.push(version);
        if (version in this.documents) return this.documents[version];
        throw refusalError({ status: 404, body: JSON.stringify(toProblem(new WaypostError('TRUST_UNKNOWN'))) });
      },
    } as unknown as CentralClient;
    const circuit = { run: (work: () => Promise<unknown>) => work() } as unknown as CentralCircuit;
    const gauge = { set: () => undefined };
    const metrics = { trustVersion: gauge, signatureAgeSeconds: gauge } as unknown as Metrics;
    this.trust = new ManifestTrust(files, central, circuit, metrics, createLogger('edge-service', 'silent'));
  }

  check(signature: unknown, { centralTime, before }: { centralTime?: Date; before?: { kid: string; issuedAt: string } } = {}) {
    return this.trust.check({ manifest, signature, centralTime, before }, new AbortController().signal);
  }
}

const sign = (key: Key = one, change: Partial<ManifestStatement> = {}): ManifestSignature =>
  signManifest(key, { fleet: FLEET, sha256: SHA256, issuedAt: new Date(Date.now()).toISOString(), trust: 1, ...change });
const at = (ms: number): string => new Date(ms).toISOString();

let bench: Bench;
beforeEach(() => {
  jest.useFakeTimers({ now: START });
  bench = new Bench();
});
afterEach(() => void jest.useRealTimers());

test('a signature by a trusted key is taken, and the first one begins an order of its own', async () => {
  expect(await bench.check(sign())).toEqual({ signedBy: { kid: one.kid, issuedAt: at(START) }, startsOrder: true });
  expect(await bench.check(sign(), { before: { kid: one.kid, issuedAt: at(START) } })).toMatchObject({ startsOrder: false });
});

test('a device that never enrolled takes what it gets, and says so', async () => {
  bench.stored = bench.fleet = undefined;
  expect(await bench.check(undefined)).toBeUndefined();
  expect(await bench.trust.report()).toEqual({ verified: false, message: 'manifests are not verified: this device has not enrolled' });
});

test.each([
  ['no signature', undefined, /no signature/],
  ['a malformed one', { kid: 'x' }, /malformed/],
])('%s is refused', async (_, signature, why) => {
  await expect(bench.check(signature)).rejects.toMatchObject({ code: 'MANIFEST_UNTRUSTED', message: expect.stringMatching(why) as string });
});

test('an answer that is repeated for ever is an alarm although it verifies, whatever time comes with it, and heals', async () => {
  const frozen = sign();
  const centralTime = new Date(START);
  await bench.check(frozen, { centralTime });
  jest.advanceTimersByTime(2 * HOUR_MS);
  await bench.check(frozen, { centralTime });
  expect(bench.trust.alert).toBeUndefined();
  jest.advanceTimersByTime(HOUR_MS);
  await bench.check(frozen, { centralTime });
  expect(bench.trust.alert).toMatchObject({
    error: { code: 'MANIFEST_STALE', message: expect.stringContaining('180 min') as string },
    since: new Date(),
  });
  await bench.check(sign());
  expect(bench.trust.alert).toBeUndefined();
});

test('an old signature is an alarm at once where central’s time says so, and after a restart where a newer one was applied', async () => {
  const old = sign(one, { issuedAt: at(START - 3 * HOUR_MS) });
  await bench.check(old, { centralTime: new Date(START) });
  expect(bench.trust.alert?.error.code).toBe('MANIFEST_STALE');
  const restarted = new Bench();
  await restarted.check(old, { before: { kid: one.kid, issuedAt: at(START) } });
  expect(restarted.trust.alert?.error.code).toBe('MANIFEST_STALE');
});

test('a key that has expired by what central signed before is refused, also where the answer’s time says otherwise', async () => {
  const endsSoon = { kid: one.kid, x: one.x, use: 'manifest', expiresAt: at(START + HOUR_MS) };
  bench.stored = documentOf(1, [], { keys: [endsSoon] });
  const signature = sign();
  await bench.check(signature);
  jest.advanceTimersByTime(HOUR_MS);
  await expect(bench.check(signature, { centralTime: new Date(START) })).rejects.toThrow(/expired at/);
});

test('rotations are followed one after another, and what a revoked key signed orders nothing any more', async () => {
  bench.documents = { 2: documentOf(2, [two, one]), 3: documentOf(3, [three]) };
  const vouched = await bench.check(sign(three, { trust: 3 }), { before: { kid: one.kid, issuedAt: at(START) } });
  expect(bench.asked).toEqual([2, 3]);
  expect(bench.stored?.document.version).toBe(3);
  expect(vouched).toMatchObject({ startsOrder: true });
  await expect(bench.check(sign(one, { trust: 3 }))).rejects.toThrow(/not in trust document 3/);
});

test('a rotation that leaves the key before in force keeps the order, and its time', async () => {
  bench.documents = { 2: documentOf(2, [two, one]) };
  expect(await bench.check(sign(two, { trust: 2 }), { before: { kid: one.kid, issuedAt: at(START) } })).toMatchObject({
    startsOrder: false,
  });
});

test('a time that a stolen key made up counts until the key is revoked, and no longer', async () => {
  await bench.check(sign(one, { issuedAt: at(START + 300 * 24 * HOUR_MS) }));
  await bench.check(sign());
  expect(bench.trust.alert?.error.code).toBe('MANIFEST_STALE');
  bench.documents = { 2: documentOf(2, [two]) };
  await bench.check(sign(two, { trust: 2 }));
  expect(bench.trust.alert).toBeUndefined();
});

test.each<[string, Record<number, unknown>, RegExp]>([
  ['are not there', {}, /TRUST_UNKNOWN/],
  ['skip a version', { 2: documentOf(3, [two]) }, /where 2 follows/],
  ['are of another fleet', { 2: documentOf(2, [two], { fleet: '01JD8Y2M3N4P5Q6R7S8T9VWXY0' }) }, /belongs to/],
  ['are no documents', { 2: 'x' }, /malformed/],
])('successors that %s are refused, and what is pinned stays', async (_, documents, why) => {
  bench.documents = documents;
  await expect(bench.check(sign(one, { trust: 2 }))).rejects.toThrow(why);
  expect(bench.stored?.document.version).toBe(1);
});

test('a version that is far away costs a bounded number of steps in each cycle', async () => {
  bench.documents = Object.fromEntries(Array.from({ length: 300 }, (_, index) => [index + 2, documentOf(index + 2, [one])]));
  await bench.check(sign(one, { trust: 2 ** 50 }));
  expect(bench.asked).toHaveLength(100);
  expect(bench.stored?.document.version).toBe(101);
});

test('a device that enrolled before there were trust documents pins that of its fleet, and no other', async () => {
  bench.stored = undefined;
  bench.documents = { 1: documentOf(1, [one]) };
  await bench.check(sign());
  expect(bench.stored).toEqual(bench.documents[1]);
  const other = new Bench();
  other.stored = undefined;
  other.fleet = '01JD8Y2M3N4P5Q6R7S8T9VWXY0';
  other.documents = bench.documents;
  await expect(other.check(sign())).rejects.toThrow(/belongs to/);
  expect(other.stored).toBeUndefined();
});

describe('the keys of the ledger', () => {
  const named = (key: Key, ms: number) => ({ kid: key.kid, x: key.x, use: 'checkpoint', expiresAt: at(START + ms) });
  const count = async (): Promise<number | undefined> => (await bench.trust.ledgerKeys())?.keys.length;

  test('are those of the trust document, until they expire by what central signed', async () => {
    expect(await count()).toBeUndefined();
    const { keys } = documentOf(1, [one]).document;
    bench.stored = documentOf(1, [one], { keys: [...keys, named(two, 2 * HOUR_MS), named(three, HOUR_MS)] });
    await bench.check(sign());
    expect(await count()).toBe(2);
    jest.advanceTimersByTime(HOUR_MS);
    expect(await count()).toBe(1);
    jest.advanceTimersByTime(HOUR_MS);
    expect(await count()).toBe(0);
  });

  test('are looked for in documents that no answer has named yet', async () => {
    bench.documents = { 2: documentOf(2, [one]), 3: documentOf(3, [one], { keys: [named(two, HOUR_MS)] }) };
    await bench.trust.followNewest(new AbortController().signal);
    expect(bench.stored?.document.version).toBe(3);
    expect(await count()).toBe(1);
    bench.documents = { 4: documentOf(5, [one]) };
    await expect(bench.trust.followNewest(new AbortController().signal)).rejects.toThrow(/where 4 follows/);
  });

  test('are none for a device that has no trust document, and it looks for none', async () => {
    bench.stored = undefined;
    await bench.trust.followNewest(new AbortController().signal);
    expect([await count(), bench.asked]).toEqual([undefined, []]);
  });
});

import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  keyThumbprint,
  type Manifest,
  manifestSha256,
  type ManifestSignature,
  MAX_TRUST_BYTES,
  type SignedTrust,
  type Signer,
  signManifest,
} from '@waypost/contracts';
import { OF_TRUST } from './support/fault-bench.js';
import type { Exchange } from './support/gateway.js';
import { OTHER_MAC, SyncPair } from './support/sync-pair.js';
import { waypost, waypostJson } from './support/waypost.js';

/** Real processes: someone stands between central and a device, or has central's online key. The device keeps what it has, and recovers by itself. */
let pair: SyncPair;
let atCentral: Record<string, string>;

beforeAll(async () => {
  ({ pair, atCentral } = await SyncPair.startEnrolled());
  expect(await pair.sync()).toMatchObject({ status: 'Success' });
});
afterAll(() => pair?.[Symbol.asyncDispose]());

beforeEach(async () => {
  pair.gateway.heal();
  expect(await pair.sync()).toMatchObject({ httpStatus: 200 });
});

interface Answer {
  manifest: Manifest;
  signature?: ManifestSignature;
}

const isRequest = ({ path }: Exchange): boolean => path === '/api/device-sync/request';

/** Puts another answer in place of central's to a request for a manifest. */
function answerWith(alter: (answer: Answer) => object): void {
  pair.gateway.after = (exchange) => {
    if (!isRequest(exchange) || exchange.status !== 200) return exchange;
    return { ...exchange, body: Buffer.from(JSON.stringify(alter(JSON.parse(exchange.body.toString()) as Answer))) };
  };
}

/** The manifest with this difference, and a hash that fits. */
function altered(manifest: Manifest, change: Partial<Manifest>): Manifest {
  const changed = { ...manifest, ...change };
  return { ...changed, sha256: manifestSha256(changed) };
}

const signerOf = (privateKey: KeyObject): Signer => ({ kid: keyThumbprint(privateKey.export({ format: 'jwk' }).x as string), privateKey });
const otherKey = signerOf(generateKeyPairSync('ed25519').privateKey);

/** The online key, as who broke into central has it. */
async function stolenKey(): Promise<Signer> {
  const [row] = await pair.atCentral<{ seed: string }>(
    `SELECT encode(seed, 'hex') AS seed FROM waypost.signing_keys WHERE use = 'manifest' ORDER BY id DESC LIMIT 1`,
  );
  const der = Buffer.from(`302e020100300506032b657004220420${row!.seed}`, 'hex');
  return signerOf(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
}

interface Status {
  lastSuccess: { sequence: number; epoch: string };
  alert: { code: string } | null;
  trust: { verified: boolean; version: number; fleet: string; message?: string };
}

const trust = async (): Promise<Status['trust']> => (await pair.status<Status>()).trust;
const rotate = async (...args: string[]): Promise<void> =>
  expect(await waypost(['keys', 'rotate', ...args], atCentral)).toMatchObject({ code: 0 });

function signed(key: Signer, manifest: Manifest, change: { fleet?: string; issuedAt?: string; trust: number }): Answer {
  const statement = { fleet: 'unknown', issuedAt: new Date().toISOString(), ...change };
  return { manifest, signature: signManifest(key, { ...statement, sha256: manifest.sha256 }) };
}

test('an enrolled device verifies, and says by which document', async () => {
  expect(await trust()).toMatchObject({ verified: true, version: 1 });
  const file = join(pair.edgeEnv['IDENTITY_DIR'] as string, 'trust.json');
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  const health = (await (await fetch(`${pair.edge.url}/health`)).json()) as { details: Record<string, unknown> };
  expect(health.details['trust']).toEqual({ status: 'up', verified: true, version: 1 });
});

describe('between central and device', () => {
  test.each<[string, string, (answer: Answer) => object | Promise<object>]>([
    ['takes the signature away', 'MANIFEST_UNTRUSTED', ({ manifest }) => ({ manifest })],
    [
      'exchanges a table for one with other rows (mix-and-match)',
      'MANIFEST_UNTRUSTED',
      ({ manifest, signature }) => {
        const [first, second] = manifest.tables as [Manifest['tables'][0], Manifest['tables'][0]];
        return { manifest: altered(manifest, { tables: [{ ...first, rowCount: 0, sha256: second.sha256 }, second] }), signature };
      },
    ],
    [
      'gives the manifest a later sequence (fast-forward)',
      'MANIFEST_UNTRUSTED',
      ({ manifest, signature }) => ({ manifest: altered(manifest, { sequence: 2 ** 53 - 1 }), signature }),
    ],
    [
      'lets it live longer',
      'MANIFEST_UNTRUSTED',
      ({ manifest, signature }) => ({ manifest: altered(manifest, { expiresAt: '2999-01-01T00:00:00.000Z' }), signature }),
    ],
    ['signs with a key of its own', 'MANIFEST_UNTRUSTED', ({ manifest }) => signed(otherKey, manifest, { trust: 1 })],
    [
      'uses its own key under the name of central’s',
      'MANIFEST_UNTRUSTED',
      ({ manifest, signature }) => {
        const forged = signed(otherKey, manifest, { trust: 1 });
        return { manifest, signature: { ...forged.signature, kid: signature!.kid } };
      },
    ],
    [
      'makes the signature younger',
      'MANIFEST_UNTRUSTED',
      ({ manifest, signature }) => ({ manifest, signature: { ...signature, issuedAt: new Date(Date.now() + 60_000).toISOString() } }),
    ],
  ])('who %s is found out, nothing is loaded, and the next cycle heals', async (_, code, alter) => {
    const before = await pair.contents();
    await pair.change();
    answerWith(alter);
    expect(await pair.sync()).toMatchObject({ code, hint: expect.any(String) as string });
    expect(await pair.contents()).toBe(before);
    expect((await pair.status<Status>()).alert?.code).toBe(code);
    const [last] = await pair.atEdge<object>('SELECT status, error_code FROM waypost.edge_sync_log ORDER BY id DESC LIMIT 1');
    expect(last).toEqual({ status: 'Failed', error_code: code });
    pair.gateway.heal();
    expect(await pair.sync()).toMatchObject({ status: 'Success' });
    expect(await pair.contents()).toBe(await pair.share());
  });

  test('who sends an older answer of central again is refused (rollback)', async () => {
    await pair.change();
    let recorded: Exchange | undefined;
    pair.gateway.after = (exchange) => {
      if (isRequest(exchange)) recorded = exchange;
      return exchange;
    };
    await pair.sync();
    pair.gateway.heal();
    await pair.change();
    expect(await pair.sync()).toMatchObject({ status: 'Success' });
    pair.gateway.after = (exchange) => (isRequest(exchange) ? recorded! : exchange);
    expect(await pair.sync()).toMatchObject({ code: 'MANIFEST_OUT_OF_ORDER' });
    expect(await pair.contents()).toBe(await pair.share());
  });

  test('who sends what central signed hours ago raises an alarm; the data stays (freeze)', async () => {
    const { fleet } = await trust();
    const key = await stolenKey();
    answerWith(({ manifest }) => signed(key, manifest, { fleet, trust: 1, issuedAt: new Date(Date.now() - 4 * 3_600_000).toISOString() }));
    expect(await pair.sync()).toMatchObject({ status: 'Unchanged' });
    expect((await pair.status<Status>()).alert?.code).toBe('MANIFEST_STALE');
    const health = (await (await fetch(`${pair.edge.url}/health`)).json()) as { details: Record<string, unknown> };
    expect(health.details['trust']).toMatchObject({ status: 'degraded', code: 'MANIFEST_STALE' });
    expect(await (await fetch(`${pair.edge.url}/metrics`)).text()).toMatch(/^waypost_edge_alerts\{.*code="MANIFEST_STALE".*\} 1$/m);
    pair.gateway.heal();
    await pair.sync();
    expect((await pair.status<Status>()).alert).toBeNull();
  });

  describe('by answers “unchanged”', () => {
    /** As central answers a device that holds this manifest. */
    const unchanged = ({ manifest: { manifestId, sha256 }, signature }: Answer) => ({ unchanged: { manifestId, sha256 }, signature });

    /** Syncs. @returns what central answered */
    async function recordSync(): Promise<Answer> {
      let recorded: Answer | undefined;
      answerWith((answer) => (recorded = answer));
      expect(await pair.sync()).toMatchObject({ httpStatus: 200 });
      pair.gateway.heal();
      return recorded!;
    }

    test('who repeats one for ever raises an alarm when its signature is old; the data stays (freeze by “unchanged”)', async () => {
      const held = await recordSync();
      const before = await pair.contents();
      await pair.change();
      answerWith(() => unchanged(held));
      expect(await pair.sync()).toMatchObject({ status: 'Unchanged' });
      const [key, { fleet, version }] = [await stolenKey(), await trust()];
      const old = signed(key, held.manifest, { fleet, trust: version, issuedAt: new Date(Date.now() - 4 * 3_600_000).toISOString() });
      answerWith(() => unchanged(old));
      expect(await pair.sync()).toMatchObject({ status: 'Unchanged' });
      expect((await pair.status<Status>()).alert?.code).toBe('MANIFEST_STALE');
      expect(await pair.contents()).toBe(before);
      pair.gateway.heal();
      expect(await pair.sync()).toMatchObject({ status: 'Success' });
      expect((await pair.status<Status>()).alert).toBeNull();
      expect(await pair.contents()).toBe(await pair.share());
    });

    test.each<[string, string, (held: Answer, older: Answer) => object]>([
      ['has the signature of an older manifest', 'MANIFEST_UNTRUSTED', (held, { signature }) => ({ ...unchanged(held), signature })],
      ['has no signature', 'MANIFEST_UNTRUSTED', ({ manifest }) => unchanged({ manifest })],
      ['is for an older manifest, with its signature', 'MANIFEST_INVALID', (_, older) => unchanged(older)],
      [
        'is for the manifest that is held, with the hash of an older one',
        'MANIFEST_INVALID',
        ({ manifest: { manifestId } }, { manifest: { sha256 }, signature }) => ({ unchanged: { manifestId, sha256 }, signature }),
      ],
    ])('one that %s is refused, and the next cycle heals', async (_, code, forge) => {
      const older = await recordSync();
      await pair.change();
      const held = await recordSync();
      expect(held.manifest.sequence).toBeGreaterThan(older.manifest.sequence);
      const before = await pair.contents();
      await pair.change();
      answerWith(() => forge(held, older));
      expect(await pair.sync()).toMatchObject({ code });
      expect(await pair.contents()).toBe(before);
      pair.gateway.heal();
      expect(await pair.sync()).toMatchObject({ status: 'Success' });
      expect(await pair.contents()).toBe(await pair.share());
    });
  });

  test('a manifest of another device is refused, though central signed it (cross-device replay)', async () => {
    const [key, { fleet }] = [await stolenKey(), await trust()];
    answerWith(({ manifest }) => signed(key, altered(manifest, { device: { mac: OTHER_MAC, id: null } }), { fleet, trust: 1 }));
    expect(await pair.sync()).toMatchObject({ code: 'MANIFEST_NOT_YOURS' });
  });

  test('a signature for another fleet is refused, also by the right key', async () => {
    const key = await stolenKey();
    answerWith(({ manifest }) => signed(key, manifest, { fleet: '01JD8Y2M3N4P5Q6R7S8T9VWXYZ', trust: 1 }));
    expect(await pair.sync()).toMatchObject({ code: 'MANIFEST_UNTRUSTED', detail: expect.stringContaining('for the fleet') as string });
  });

  test('a key that has expired by central’s time is refused', async () => {
    pair.gateway.after = (exchange) => {
      exchange.headers.set('date', new Date(Date.now() + 400 * 86_400_000).toUTCString());
      return exchange;
    };
    expect(await pair.sync()).toMatchObject({ code: 'MANIFEST_UNTRUSTED', detail: expect.stringContaining('expired at') as string });
  });

  test('a trust document without end is cut off (endless data)', async () => {
    answerWith(({ manifest, signature }) => ({ manifest, signature: { ...signature, trust: 2 } }));
    const alterRequest = pair.gateway.after!;
    pair.gateway.after = (exchange) =>
      exchange.path.startsWith('/api/device-sync/trust/')
        ? { ...exchange, status: 200, body: Buffer.alloc(MAX_TRUST_BYTES + 1, ' ') }
        : alterRequest(exchange);
    expect(await pair.sync()).toMatchObject({
      code: 'CENTRAL_REFUSED',
      detail: expect.stringContaining(`longer than ${MAX_TRUST_BYTES}`) as string,
    });
    expect((await trust()).version).toBe(1);
  });
});

test('a device that enrolled before there were trust documents pins one with its next cycle', async () => {
  await pair.edge.end('SIGTERM');
  await rm(join(pair.edgeEnv['IDENTITY_DIR'] as string, 'trust.json'));
  await pair.atEdge(`DELETE FROM waypost.edge_sync_state WHERE key = 'signed_by'`);
  await pair.restartEdge();
  expect(await pair.sync()).toMatchObject({ httpStatus: 200 });
  expect(await trust()).toMatchObject({ verified: true, version: (await versions()).at(-1) });
});

async function versions(): Promise<number[]> {
  const rows = await pair.atCentral<{ version: number }>('SELECT version FROM waypost.trust_documents ORDER BY version');
  return rows.map(({ version }) => version);
}

test('a device that was offline over two rotations, one of the root key, follows by itself', async () => {
  await rotate();
  await rotate('--root');
  await pair.restartCentral();
  await pair.change();
  expect(await pair.sync()).toMatchObject({ status: 'Success' });
  expect((await trust()).version).toBe((await versions()).at(-1));
});

test.each(OF_TRUST)('a device that is killed at %s follows with its next cycle', async (point) => {
  await rotate();
  await pair.restartCentral();
  await pair.restartEdge({ WAYPOST_FAULTS: `${point}:kill` });
  await pair.sync().catch(() => undefined);
  await pair.edge.gone;
  await pair.restartEdge();
  expect(await pair.sync()).toMatchObject({ httpStatus: 200 });
  expect((await trust()).version).toBe((await versions()).at(-1));
});

test('who has the online key can lock no device out: after keys rotate --revoke-now it goes on from central’s own sequence (fast-forward, recovery)', async () => {
  const [key, { fleet, version }] = [await stolenKey(), await trust()];
  const honest = (await pair.status<Status>()).lastSuccess;
  const forge = ({ manifest }: Answer): Answer =>
    signed(key, altered(manifest, { manifestId: '7ZZZZZZZZZZZZZZZZZZZZZZZZZ', epoch: 'stolen', sequence: 2 ** 53 - 1 }), {
      fleet,
      trust: version,
    });
  answerWith(forge);
  expect(await pair.sync()).toMatchObject({ httpStatus: 200 });
  expect((await pair.status<Status>()).lastSuccess).toMatchObject({ epoch: 'stolen', sequence: 2 ** 53 - 1 });
  pair.gateway.heal();
  expect(await pair.sync()).not.toMatchObject({ httpStatus: 200 });

  await rotate('--revoke-now');
  await pair.restartCentral();
  expect(await pair.sync()).toMatchObject({ httpStatus: 200 });
  const recovered = (await pair.status<Status>()).lastSuccess;
  expect(recovered.epoch).toBe(honest.epoch);
  expect(recovered.sequence).toBeLessThan(2 ** 53 - 1);
  expect(await pair.contents()).toBe(await pair.share());
  answerWith(forge);
  expect(await pair.sync()).toMatchObject({ code: 'MANIFEST_UNTRUSTED' });
});

test('the root key goes into a file, signs from there, and is replaced by another file', async () => {
  const [first, second] = [join(pair.folder.path, 'root.pem'), join(pair.folder.path, 'root-2.pem')];
  const exported = await waypostJson<{ kid: string }>(['keys', 'export-root', first], atCentral);
  expect(exported).toMatchObject({ code: 0, json: { kid: expect.any(String) as string } });
  expect((await stat(first)).mode & 0o777).toBe(0o600);
  expect(await readFile(first, 'utf8')).toContain('PRIVATE KEY');
  expect(await pair.atCentral(`SELECT id FROM waypost.signing_keys WHERE use = 'root'`)).toEqual([]);
  expect(await waypost(['keys', 'export-root', first], atCentral)).toMatchObject({ code: 2 });
  expect(await waypost(['keys', 'rotate'], atCentral)).toMatchObject({ code: 2, err: expect.stringContaining('is offline') as string });
  expect(await waypost(['keys', 'rotate', '--root', '--root-key', first], atCentral)).toMatchObject({ code: 2 });
  await rotate('--root-key', first);
  await rotate('--root', '--root-key', first, '--new-root-key', second);
  expect(await waypost(['keys', 'rotate', '--root-key', first], atCentral)).toMatchObject({
    code: 2,
    err: expect.stringContaining('no root key') as string,
  });
  await rotate('--root-key', second, '--days', '30');
  await pair.restartCentral();
  expect(await pair.sync()).toMatchObject({ httpStatus: 200 });
  const { json } = await waypostJson<{ version: number; rootKeys: { place: string }[]; keys: { state: string }[] }>(
    ['keys', 'show'],
    atCentral,
  );
  expect(json).toMatchObject({ version: (await trust()).version, rootKeys: [{ place: 'offline' }] });
  expect(json.keys[0]?.state).toBe('signs');
  const shown = await waypost(['keys', 'show'], atCentral);
  expect(shown.code).toBe(0);
  const documents = await pair.atCentral<{ document: SignedTrust }>('SELECT document FROM waypost.trust_documents ORDER BY version');
  expect(documents).toHaveLength(json.version);
});

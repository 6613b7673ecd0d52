import { generateKeyPairSync } from 'node:crypto';
import {
  checkManifestSignature,
  type ManifestSignature,
  openSuccessor,
  openTrust,
  type Problem,
  type SignedTrust,
  signTrust,
} from '@waypost/contracts';
import { queryOn } from '@waypost/runtime';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { type Central, startCentral } from '../../testing/central.js';
import { haveOf } from '../../testing/messages.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import { SHOP_1, SHOP_2, SHOP_PLAN } from '../../testing/shop.js';
import { runSql } from '../../testing/sql.js';
import { privateKeyOf } from '../identity/ed25519.js';
import { type Rotation, rotateTrust } from './rotate-trust.js';
import { ledgerSigner } from './rotate-ledger-key.js';
import { signerOf } from './signing-keys.js';

let server: TestServer;
let central: OwnCentral;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());
beforeEach(async () => {
  central = await startOwnCentral({ server });
});
afterEach(() => central?.[Symbol.asyncDispose]());

interface Answer {
  manifest: { sha256: string };
  unchanged?: { sha256: string };
  signature: ManifestSignature;
}

const ask = async (at: Central, mac: string, more: object = {}, headers = {}): Promise<Answer> =>
  (await at.post<Answer>('/api/device-sync/request', { mac, ...more }, headers)).body;

async function trustOf(at: Central, version: number | string): Promise<SignedTrust> {
  const response = await fetch(`${at.url}/api/device-sync/trust/${version}?mac=${SHOP_1}`);
  if (response.status !== 200) throw new Error(((await response.json()) as Problem).code);
  return (await response.json()) as SignedTrust;
}

async function rotate(change: Partial<Rotation> = {}): Promise<SignedTrust> {
  const client = new pg.Client({ connectionString: central.databaseUrl });
  await client.connect();
  try {
    await client.query('BEGIN');
    const signed = await rotateTrust(queryOn(client), { by: 'test', lifeMs: 86_400_000, ...change });
    await client.query('COMMIT');
    return signed;
  } finally {
    await client.end();
  }
}

const ledgerKids = ({ document }: SignedTrust): string[] => document.keys.filter(({ use }) => use === 'checkpoint').map(({ kid }) => kid);

/** The key that signs checkpoints now, by what central names it. */
const ledgerKid = async (): Promise<string> => (await ledgerSigner((text, values) => central.sql(text, values))).kid;

/** As a replica that starts now. */
const restart = (): Promise<Central> => startCentral({ databaseUrl: central.databaseUrl, plan: SHOP_PLAN });

test('a new central makes its keys once, also where two start together, and signs what devices should hold', async () => {
  await central.sql('TRUNCATE waypost.trust_documents, waypost.signing_keys');
  await using one = await restart();
  await using two = await restart();
  const answers = await Promise.all([ask(one, SHOP_1), ask(two, SHOP_2)]);
  const { document } = openTrust(await trustOf(one, 1));
  for (const { manifest, signature } of answers) {
    expect(() => checkManifestSignature(document, { sha256: manifest.sha256, signature, time: new Date() })).not.toThrow();
    expect(signature.trust).toBe(1);
  }
  expect(await central.sql('SELECT use FROM waypost.signing_keys ORDER BY use')).toEqual([{ use: 'manifest' }, { use: 'root' }]);
});

test('the answer “unchanged” is signed, with the signature that is there while it is young', async () => {
  const first = await ask(central, SHOP_1);
  const again = await ask(central, SHOP_1, haveOf(first.manifest as never), { prefer: 'return=minimal' });
  expect(again).toEqual({
    unchanged: { manifestId: expect.any(String) as string, sha256: first.manifest.sha256 },
    signature: first.signature,
  });
  await using young = await startCentral({ databaseUrl: central.databaseUrl, plan: SHOP_PLAN, env: { MANIFEST_TTL: '20s' } });
  const short = await ask(young, SHOP_1);
  expect(short.signature.issuedAt).not.toBe(first.signature.issuedAt);
});

test('each version follows the one before, and the keys before stay valid for a day', async () => {
  const { document: first } = await trustOf(central, 1);
  const { document: second } = openSuccessor(first, await rotate());
  expect(second.rootKeys).toEqual(first.rootKeys);
  expect(second.keys.map(({ kid }) => kid)).toContain(first.keys[0]!.kid);
  expect(second.keys.map(({ use }) => use)).toEqual(['manifest', 'checkpoint', 'manifest', 'checkpoint']);
  for (const { expiresAt } of second.keys.slice(2)) expect(Date.parse(expiresAt) - Date.parse(second.issuedAt)).toBe(86_400_000);
  const { document: third } = openSuccessor(second, await rotate({ root: true, revokes: true }));
  expect(third.rootKeys).not.toEqual(second.rootKeys);
  expect(third.keys.map(({ use }) => use)).toEqual(['manifest', 'checkpoint']);
  openSuccessor(third, await rotate());
  await using later = await restart();
  expect((await ask(later, SHOP_1)).signature.trust).toBe(4);
  for (const version of [1, 2, 3, 4]) expect((await trustOf(later, version)).document.version).toBe(version);
});

test('a key that is revoked, and a root key that was replaced, leave the database', async () => {
  const seeds = (): Promise<{ id: string }[]> => central.sql<{ id: string }>('SELECT id::text FROM waypost.signing_keys ORDER BY id');
  const before = await seeds();
  await rotate({ revokes: true, root: true });
  const after = await seeds();
  expect(after).toHaveLength(2);
  expect(after.filter(({ id }) => before.some((old) => old.id === id))).toEqual([]);
});

test('the key of the ledger is named from the first document on, and replaced with that of manifests', async () => {
  const first = await ledgerKid();
  expect(ledgerKids(await trustOf(central, 1))).toEqual([first]);
  expect(ledgerKids(await rotate())).toEqual([await ledgerKid(), first]);
  expect(await ledgerKid()).not.toBe(first);
  expect(ledgerKids(await rotate({ revokes: true }))).toEqual([await ledgerKid()]);
  expect(await central.sql('SELECT count(*)::int FROM waypost.ledger_keys')).toEqual([{ count: 3 }]);
});

test('a process that gave a new document to a device signs with its keys from then on', async () => {
  expect((await ask(central, SHOP_1)).signature.trust).toBe(1);
  await rotate({ revokes: true });
  const { document } = await trustOf(central, 2);
  const { manifest, signature } = await ask(central, SHOP_1);
  expect(() => checkManifestSignature(document, { sha256: manifest.sha256, signature, time: new Date() })).not.toThrow();
});

test('a document of before that names no key of the ledger has a successor that names the one in force, once', async () => {
  const root = signerOf(
    privateKeyOf((await central.sql<{ seed: Buffer }>("SELECT seed FROM waypost.signing_keys WHERE use = 'root'"))[0]!.seed),
  );
  const { document } = await trustOf(central, 1);
  await central.sql('DELETE FROM waypost.trust_documents');
  const earlier = signTrust({ ...document, keys: document.keys.filter(({ use }) => use === 'manifest') }, [root]);
  await central.sql("INSERT INTO waypost.trust_documents (version, document, created_by) VALUES (1, $1, 'test')", [
    JSON.stringify(earlier),
  ]);
  const first = await ledgerKid();
  await using one = await restart();
  await using two = await restart();
  await Promise.all([ask(one, SHOP_1), ask(two, SHOP_2)]);
  expect(ledgerKids(openSuccessor(earlier.document, await trustOf(one, 2)))).toEqual([first]);
  await expect(trustOf(two, 3)).rejects.toThrow('TRUST_UNKNOWN');
  expect(await ledgerKid()).toBe(first);
});

test('with an offline root key, that key alone signs the next document', async () => {
  const offline = signerOf(generateKeyPairSync('ed25519').privateKey);
  const { document: first } = await trustOf(central, 1);
  const { document: second } = openSuccessor(first, await rotate({ root: true, newRootKey: offline }));
  expect(await central.sql('SELECT use FROM waypost.signing_keys GROUP BY use')).toEqual([{ use: 'manifest' }]);
  await expect(rotate()).rejects.toMatchObject({ code: 'CONFIG_INVALID', detail: expect.stringContaining('is offline') as string });
  const other = signerOf(generateKeyPairSync('ed25519').privateKey);
  await expect(rotate({ rootKey: other })).rejects.toMatchObject({ detail: expect.stringContaining('is no root key') as string });
  openSuccessor(second, await rotate({ rootKey: offline }));
});

test('rotations that run together make versions one after another', async () => {
  await Promise.all([rotate(), rotate(), rotate()]);
  const rows = await central.sql<{ version: number }>('SELECT version FROM waypost.trust_documents ORDER BY version');
  expect(rows.map(({ version }) => version)).toEqual([1, 2, 3, 4]);
});

test('a key whose end is near is replaced by central where it has the root key; else operators are told', async () => {
  const nearItsEnd = `UPDATE waypost.trust_documents SET document = jsonb_set(jsonb_set(document::jsonb, '{document,keys,0,expiresAt}', to_jsonb(to_char(now() + interval '1 h', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))),
    '{document,issuedAt}', to_jsonb(to_char(now() - interval '99 d', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')))::json WHERE version = (SELECT max(version) FROM waypost.trust_documents)`;
  await central.sql(nearItsEnd);
  {
    await using renewed = await restart();
    expect((await ask(renewed, SHOP_1)).signature.trust).toBe(2);
    const [before, after] = [await trustOf(renewed, 1), await trustOf(renewed, 2)];
    expect(ledgerKids(after)).toHaveLength(2);
    expect(ledgerKids(after)).toContain(ledgerKids(before)[0]);
  }
  await central.sql(`DELETE FROM waypost.signing_keys WHERE use = 'root'`);
  await central.sql(nearItsEnd);
  await using offline = await restart();
  expect((await ask(offline, SHOP_1)).signature.trust).toBe(2);
  const health = (await (await fetch(`${offline.url}/health`)).json()) as { details: Record<string, unknown> };
  expect(health.details['trust']).toMatchObject({ status: 'degraded', message: expect.stringContaining('--root-key') as string });
});

test.each(['0', '5', '-1', '1.5', 'x', '99999999999999'])('version %s is none', async (version) => {
  await expect(trustOf(central, version)).rejects.toThrow('TRUST_UNKNOWN');
});

test('a device of AUTH=device needs its access token for it', async () => {
  await using strict = await startCentral({ databaseUrl: central.databaseUrl, plan: SHOP_PLAN, env: { AUTH: 'device' } });
  await expect(trustOf(strict, 1)).rejects.toThrow('AUTH_REQUIRED');
});

test('private keys are readable for central alone', async () => {
  await runSql(central.databaseUrl, 'CREATE ROLE watcher; GRANT USAGE ON SCHEMA waypost TO watcher');
  expect(await central.sql(`SELECT has_table_privilege('watcher', 'waypost.signing_keys', 'SELECT') AS "mayRead"`)).toEqual([
    { mayRead: false },
  ]);
});

test('a central whose key is gone says what to do', async () => {
  await central.sql(`DELETE FROM waypost.signing_keys WHERE use = 'manifest'`);
  await using bare = await restart();
  expect(await bare.post('/api/device-sync/request', { mac: SHOP_1 })).toMatchObject({
    status: 500,
    body: { code: 'STORAGE_FAILED', hint: expect.stringContaining('waypost keys rotate') as string },
  });
});

test('a central that lost all of its keys makes new ones, that of the ledger too', async () => {
  await central.sql('TRUNCATE waypost.trust_documents, waypost.signing_keys, waypost.ledger_keys');
  await using bare = await restart();
  expect((await bare.post('/api/device-sync/request', { mac: SHOP_1 })).status).toBe(200);
  expect(ledgerKids(await trustOf(bare, 1))).toEqual([await ledgerKid()]);
});

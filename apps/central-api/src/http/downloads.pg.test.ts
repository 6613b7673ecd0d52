import { readdir, rm } from 'node:fs/promises';
import { jest } from '@jest/globals';
import { AdvisoryLock, ADVISORY_NAMESPACE } from '@waypost/runtime';
import fc from 'fast-check';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import { readTable } from '../../testing/chunk-streams.js';
import { ODD_TABLE, SHOP_1, SHOP_1_TWIN, SHOP_PLAN, SHOP_SCHEMA } from '../../testing/shop.js';
import { PackStore } from '../chunk-store/pack-store.js';
import { SnapshotSweeper } from '../maintenance/snapshot-sweeper.js';

let server: TestServer;
let central: OwnCentral;

beforeAll(async () => {
  server = await startTestServer();
  central = await startOwnCentral({ server });
});

afterAll(async () => {
  await central?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

function problemOf({ body }: { body: Buffer }): unknown {
  return JSON.parse(body.toString());
}

test('a download that is resumed anywhere gives the same bytes', async () => {
  const manifest = await central.manifestFor(SHOP_1);
  const whole = await central.download(manifest, 'accounts');
  const total = whole.body.length;
  const offsets = fc.oneof(fc.integer({ min: 1, max: total - 1 }), fc.constantFrom(1, 11, 12, 13, 55, 56, 57, total - 1));
  await fc.assert(
    fc.asyncProperty(offsets, fc.boolean(), async (start, conditional) => {
      const etag = whole.headers.get('etag') as string;
      const part = await central.download(manifest, 'accounts', { range: `bytes=${start}-`, ...(conditional ? { 'if-range': etag } : {}) });
      expect(part.status).toBe(206);
      expect(part.headers.get('content-range')).toBe(`bytes ${start}-${total - 1}/${total}`);
      expect(part.body.equals(whole.body.subarray(start))).toBe(true);
    }),
    { numRuns: 60 },
  );
});

test.each([
  ['from the first byte', { range: 'bytes=0-' }],
  ['of another version', { range: 'bytes=100-', 'if-range': '"another"' }],
  ['of a form that is not understood', { range: 'bytes=5-10' }],
  ['of several ranges', { range: 'bytes=5-,10-' }],
  ['of nonsense', { range: 'lines=1-' }],
])('a range %s gives the whole', async (_, headers) => {
  const manifest = await central.manifestFor(SHOP_1);
  const whole = await central.download(manifest, 'vaults');
  const answer = await central.download(manifest, 'vaults', headers);
  expect({ status: answer.status, body: answer.body.equals(whole.body) }).toEqual({ status: 200, body: true });
});

test.each(['bytes=100000-', 'bytes=99999999999999999999999-'])('%s lies past the end and is refused', async (range) => {
  const manifest = await central.manifestFor(SHOP_1);
  const answer = await central.download(manifest, 'vaults', { range });
  expect(problemOf(answer)).toMatchObject({ status: 416, code: 'RANGE_INVALID' });
  const total = manifest.tables.find(({ name }) => name === 'vaults')?.streamBytes;
  expect(answer.headers.get('content-range')).toBe(`bytes */${total}`);
});

test.each([
  ['the ETag', (etag: string) => etag, 304],
  ['a weak form of it', (etag: string) => `W/${etag}`, 304],
  ['it among others', (etag: string) => `"other", ${etag}`, 304],
  ['any', () => '*', 304],
  ['another one', () => '"other"', 200],
])('If-None-Match with %s', async (_, header, status) => {
  const manifest = await central.manifestFor(SHOP_1);
  const whole = await central.download(manifest, 'accounts');
  const etag = whole.headers.get('etag') as string;
  const answer = await central.download(manifest, 'accounts', { 'if-none-match': header(etag) });
  expect({ status: answer.status, etag: answer.headers.get('etag') }).toEqual({ status, etag });
  expect(answer.body.equals(status === 304 ? Buffer.alloc(0) : whole.body)).toBe(true);
});

test('an empty table is a header without chunks', async () => {
  const { body } = await central.download(await central.manifestFor(SHOP_1), 'nothing');
  expect(body.toString('hex')).toBe('575043310000000000000000');
});

test.each(['strangers', 'Accounts', 'public.accounts', '__proto__', '\0'])('%j is no table of the manifest', async (name) => {
  const answer = await central.download(await central.manifestFor(SHOP_1), name);
  expect(problemOf(answer)).toMatchObject({ status: 404, code: 'TABLE_NOT_IN_MANIFEST' });
});

test('HEAD tells the size, sends nothing and reads nothing that it would send', async () => {
  const manifest = await central.manifestFor(SHOP_1);
  const reading = jest.spyOn(central.app.get(PackStore), 'openFrames');
  const url = `${central.url}/api/device-sync/manifests/${manifest.manifestId}/tables/accounts/chunks?mac=${SHOP_1}`;
  const response = await fetch(url, { method: 'HEAD' });
  expect(response.headers.get('content-length')).toBe(String(manifest.tables[0]?.streamBytes));
  expect(response.headers.get('etag')).toBe((await central.download(manifest, 'accounts')).headers.get('etag'));
  expect(reading).toHaveBeenCalledTimes(1); // by the download
});

test('a download stays the manifest’s, also when the rows have changed and when the table is gone', async () => {
  const manifest = await central.manifestFor(SHOP_1);
  const before = await central.download(manifest, ODD_TABLE);
  await central.sql(`DELETE FROM ${ODD_TABLE} WHERE r = 'a'`);
  expect((await central.download(manifest, ODD_TABLE)).body.equals(before.body)).toBe(true);
  await central.sql(`ALTER TABLE ${ODD_TABLE} RENAME TO moved`);
  expect((await central.download(manifest, ODD_TABLE)).body.equals(before.body)).toBe(true);
  expect(await central.post('/api/device-sync/request', { mac: SHOP_1 })).toMatchObject({ status: 500, body: { code: 'PLAN_INVALID' } });
  await central.sql('ALTER TABLE "Odd/Schema?".moved RENAME TO "Sel#ect %2f"');
  expect((await central.manifestFor(SHOP_1)).tables[3]?.rowCount).toBe(2);
});

test('an emptied store refuses downloads until the next request fills it again', async () => {
  const manifest = await central.manifestFor(SHOP_1);
  await rm(central.store, { recursive: true });
  expect(problemOf(await central.download(manifest, 'accounts'))).toMatchObject({ status: 410, code: 'SNAPSHOT_MISSING' });
  expect((await central.manifestFor(SHOP_1)).manifestId).toBe(manifest.manifestId);
  expect(readTable((await central.download(manifest, 'accounts')).body).index.totals().rowCount).toBe(1500);
});

test('an expired manifest is refused, and the device told to ask again', async () => {
  await using brief = await startOwnCentral({ server, env: { MANIFEST_TTL: '1ms' } });
  const manifest = await brief.manifestFor(SHOP_1);
  const answer = await brief.download(manifest, 'accounts');
  expect(problemOf(answer)).toMatchObject({ status: 410, code: 'MANIFEST_EXPIRED', hint: expect.stringContaining('new manifest') });
  expect(await brief.audit(1)).toMatchObject([
    { mac: SHOP_1, manifest_id: manifest.manifestId, operation: 'download', reason: 'MANIFEST_EXPIRED' },
  ]);
});

test('the sweeper keeps what live manifests need, and removes what only expired ones needed', async () => {
  await using own = await startOwnCentral({ server });
  const first = await own.manifestFor(SHOP_1);
  await own.sql('UPDATE vaults SET balance = 5');
  const second = await own.manifestFor(SHOP_1_TWIN);
  const sweeper = own.app.get(SnapshotSweeper);
  expect(await sweeper.sweep()).toMatchObject({ contents: 0, chunks: 0, packs: 0 });

  await own.sql(`UPDATE waypost.manifests SET expires_at = now() - interval '1 s' WHERE manifest_id = $1`, [first.manifestId]);
  await sweeper.sweep();
  await own.sql(`UPDATE waypost.manifests SET expires_at = now() + interval '1 h' WHERE manifest_id = $1`, [first.manifestId]);
  expect(problemOf(await own.download(first, 'vaults'))).toMatchObject({ code: 'SNAPSHOT_MISSING' });
  expect((await own.download(first, 'accounts')).status).toBe(200);
  for (const { name, sha256 } of second.tables)
    expect(readTable((await own.download(second, name)).body).index.totals().sha256).toBe(sha256);

  await own.sql(`UPDATE waypost.manifests SET expires_at = now() - interval '1 s'`);
  await sweeper.sweep();
  expect(await storedFiles(own)).toEqual([]);
});

test('a sweep that would have to wait for a request of an older release in the middle of storing gives way', async () => {
  await using own = await startOwnCentral({ server });
  await own.manifestFor(SHOP_1);
  const request = new pg.Client({ connectionString: own.databaseUrl });
  await request.connect();
  try {
    await request.query('SELECT pg_advisory_lock_shared($1, $2)', [ADVISORY_NAMESPACE, AdvisoryLock.snapshotStore]);
    await own.sql(`UPDATE waypost.manifests SET expires_at = now() - interval '1 s'`);
    expect(await own.app.get(SnapshotSweeper).sweep({ maxWaitMs: 1 })).toBeUndefined();
    expect(await storedFiles(own)).not.toEqual([]);
  } finally {
    await request.end();
  }
  // The sweep at start may come as late as now.
  await own.app.get(SnapshotSweeper).sweep();
  expect(await storedFiles(own)).toEqual([]);
});

async function storedFiles({ store }: OwnCentral): Promise<string[]> {
  const entries = await readdir(store, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ name }) => name);
}

test('a table’s name may be as long as PostgreSQL allows, and of characters that URLs must encode', async () => {
  const long = `"${'S'.repeat(63)}"."${'%/?#"" é'.repeat(7)}"`;
  const schema = `${SHOP_SCHEMA} CREATE SCHEMA "${'S'.repeat(63)}"; CREATE TABLE ${long} (id int PRIMARY KEY)`;
  const plan = SHOP_PLAN.replace(/tables:[^]*$/, `tables:\n  - name: '${long}'\n`);
  await using own = await startOwnCentral({ server, schema, plan });
  expect((await own.download(await own.manifestFor(SHOP_1), long)).status).toBe(200);
});

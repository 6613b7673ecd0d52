import { normalizeMac } from '@waypost/contracts';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { startCentral } from '../../testing/central.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import { readTable } from '../../testing/chunk-streams.js';
import { SHOP_1, SHOP_1_TWIN, SHOP_2, SHOP_PLAN } from '../../testing/shop.js';

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

test('a manifest says what the database holds, and each download proves it', async () => {
  const manifest = await central.manifestFor(SHOP_1);
  expect(manifest).toMatchObject({
    schemaVersion: 3,
    device: { mac: SHOP_1, id: null },
    filters: { shop: '1', active: 't' },
    types: [{ name: 'public.mood', kind: 'enum', labels: ['good', 'bad'] }],
  });
  expect(manifest.tables.map(({ name, rowCount, format, key }) => ({ name, rowCount, format, key }))).toEqual([
    { name: 'accounts', rowCount: 1500, format: 'binary', key: ['id'] },
    { name: 'vaults', rowCount: 1, format: 'binary', key: ['id'] },
    { name: 'nothing', rowCount: 0, format: 'binary', key: ['id'] },
    { name: '"Odd/Schema?"."Sel#ect %2f"', rowCount: 3, format: 'text', key: ['r'] },
  ]);
  for (const table of manifest.tables) {
    const { status, headers, body } = await central.download(manifest, table.name);
    expect({ status, type: headers.get('content-type'), bytes: body.length }).toEqual({
      status: 200,
      type: 'application/vnd.waypost.chunks',
      bytes: table.streamBytes,
    });
    const { index, rows } = readTable(body);
    expect(index.totals()).toMatchObject({ rowCount: table.rowCount, rawBytes: table.rawBytes, sha256: table.sha256 });
    expect(rows).toHaveLength(table.rawBytes);
  }
});

test('a table’s onReferenced goes from the plan into the manifest, and nowhere else', async () => {
  const plan = SHOP_PLAN.replace('- name: vaults', '- name: vaults\n    onReferenced: keep');
  await using keeping = await startCentral({ databaseUrl: central.databaseUrl, plan });
  const { tables } = await keeping.manifestFor(SHOP_1);
  expect(tables.map(({ name, onReferenced }) => [name, onReferenced]).slice(0, 2)).toEqual([
    ['accounts', undefined],
    ['vaults', 'keep'],
  ]);
  await expect(startCentral({ databaseUrl: central.databaseUrl, plan: plan.replace('keep', 'maybe') })).rejects.toThrow(/onReferenced/);
});

test('the bytes of a download are those of COPY', async () => {
  const manifest = await central.manifestFor(SHOP_2);
  const { rows } = readTable((await central.download(manifest, 'vaults')).body);
  const [expected] = await central.sql<{ row: Buffer }>(
    `SELECT int2send(3::int2) || int4send(4) || int4send(id) || int4send(4) || int4send(shop) || int4send(length(numeric_send(balance))) || numeric_send(balance) AS row
     FROM vaults WHERE shop = 2`,
  );
  expect(rows.toString('hex')).toBe(expected?.row.toString('hex'));
});

test.each(['02:00:00:00:00:01', '02-00-00-00-00-01', '0200.0000.0001', '020000:000001', '020000000001', ' 02:00:00:00:00:01 '])(
  'a device may write its MAC as %j',
  async (mac) => {
    expect((await central.manifestFor(mac)).device.mac).toBe(normalizeMac(mac));
  },
);

test('upper case is as good as lower case', async () => {
  await central.sql(`INSERT INTO devices VALUES ('aa:bb:cc:dd:ee:ff', 1)`);
  expect((await central.manifestFor('AA-BB-CC-DD-EE-FF')).device.mac).toBe('aa:bb:cc:dd:ee:ff');
});

test('unchanged data gives the same manifest again, a change a new one that comes later', async () => {
  const first = await central.manifestFor(SHOP_2);
  expect(await central.manifestFor(SHOP_2)).toEqual(first);
  expect((await central.audit(1))[0]).toMatchObject({ status: 'Issued', reason: 'unchanged', manifest_id: first.manifestId });

  await central.sql('UPDATE vaults SET balance = balance + 0.00 WHERE id = 2');
  const second = await central.manifestFor(SHOP_2);
  expect(second.manifestId).not.toBe(first.manifestId);
  expect(second.epoch).toBe(first.epoch);
  expect(second.sequence).toBeGreaterThan(first.sequence);
  const differing = second.tables.filter(({ sha256 }, at) => sha256 !== first.tables[at]?.sha256);
  expect(differing.map(({ name }) => name)).toEqual(['vaults']);
  expect((await central.audit(1))[0]).toMatchObject({ status: 'Issued', reason: null, manifest_id: second.manifestId });
});

test('concurrent requests of one device agree on one manifest', async () => {
  await central.sql('UPDATE vaults SET balance = balance + 1 WHERE id = 2');
  const manifests = await Promise.all(Array.from({ length: 6 }, () => central.manifestFor(SHOP_2)));
  expect(new Set(manifests.map(({ manifestId }) => manifestId)).size).toBe(1);
});

test('devices with equal parameters share their snapshots, yet have manifests of their own', async () => {
  const [one, twin] = [await central.manifestFor(SHOP_1), await central.manifestFor(SHOP_1_TWIN)];
  expect(twin.tables).toEqual(one.tables);
  expect(twin.manifestId).not.toBe(one.manifestId);
  expect((await central.download(one, 'accounts')).headers.get('etag')).toBe(
    (await central.download(twin, 'accounts')).headers.get('etag'),
  );
});

test('each issued manifest is kept whole, with a row per table that says what it was filtered by', async () => {
  const manifest = await central.manifestFor(SHOP_1);
  const [row] = await central.sql<{ document: object; sha256: string }>(
    'SELECT document, sha256 FROM waypost.manifests WHERE manifest_id = $1',
    [manifest.manifestId],
  );
  expect(row).toEqual({ document: manifest, sha256: manifest.sha256 });
  const tables = await central.sql(
    'SELECT table_name, row_count::int, sha256, filter_desc FROM waypost.sync_manifests WHERE manifest_id = $1 ORDER BY table_name COLLATE "C" DESC',
    [manifest.manifestId],
  );
  const filters: Record<string, string> = { accounts: 'shop = :shop [shop = 1]', vaults: 'shop = :shop [shop = 1]' };
  const expected = manifest.tables.map(({ name, rowCount, sha256 }) => ({
    table_name: name,
    row_count: rowCount,
    sha256,
    filter_desc: filters[name] ?? 'all rows',
  }));
  expect(tables).toEqual(expected.sort((a, b) => (a.table_name < b.table_name ? 1 : -1)));
});

test('a manifest is given again in the first half of its life, and replaced in the second', async () => {
  await using brief = await startCentral({ databaseUrl: central.databaseUrl, plan: SHOP_PLAN, env: { MANIFEST_TTL: '24h' } });
  const first = await brief.manifestFor(SHOP_1);
  const age = (hours: number) =>
    brief.sql(`UPDATE waypost.manifests SET expires_at = now() + make_interval(hours => $2) WHERE manifest_id = $1`, [
      first.manifestId,
      hours,
    ]);
  await age(13);
  expect((await brief.manifestFor(SHOP_1)).manifestId).toBe(first.manifestId);
  await age(11);
  const second = await brief.manifestFor(SHOP_1);
  expect(second.manifestId).not.toBe(first.manifestId);
  expect(second.sequence).toBeGreaterThan(first.sequence);
  expect(second.tables).toEqual(first.tables);
});

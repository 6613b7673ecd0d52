import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MAC, SyncPair } from './support/sync-pair.js';
import { waypost, waypostJson } from './support/waypost.js';

/** One fleet of one device, synced twice with a change in between: the commands at central's database tell its story. */
let pair: SyncPair;
let atCentral: Record<string, string>;

beforeAll(async () => {
  pair = await SyncPair.start();
  await pair.sync();
  await pair.change();
  await pair.sync();
  const { DATABASE_URL, SNAPSHOT_STORE } = pair.centralEnv as { DATABASE_URL: string; SNAPSHOT_STORE: string };
  atCentral = { DATABASE_URL, SNAPSHOT_STORE };
});

afterAll(() => pair?.[Symbol.asyncDispose]());

const ANSI = '\u001b';

interface ManifestDocument {
  manifestId: string;
  tables: { name: string; rowCount: number; sha256: string; filter: string }[];
  acks: { result: string }[];
}

const manifestOf = async (name: string): Promise<ManifestDocument> =>
  (await waypostJson<ManifestDocument>(['manifest', name], atCentral)).json;

test.each([
  [['status'], 'OK  1 device of 1 fresh.'],
  [['devices'], MAC],
  [['history', MAC], 'Generated'],
  [['manifest', MAC], 'shop = :shop [shop = 1]'],
  [['diff', `${MAC}~1`, MAC], '2 tables of 2 differ.'],
])('waypost %j prints plain, aligned text in a pipe, and one JSON document with --json', async (args, expected) => {
  const plain = await waypost(args, atCentral);
  expect({ code: plain.code, err: plain.err }).toEqual({ code: 0, err: '' });
  expect(plain.out).toContain(expected);
  expect(plain.out).not.toContain(ANSI);
  const { code, json } = await waypostJson<object>(args, atCentral);
  expect(code).toBe(0);
  expect(Object.keys(json).length).toBeGreaterThan(0);
});

test('colours come where they are wanted, and --no-color takes them away', async () => {
  expect((await waypost(['devices'], { ...atCentral, FORCE_COLOR: '1' })).out).toContain(ANSI);
  expect((await waypost(['devices', '--no-color'], { ...atCentral, FORCE_COLOR: '1' })).out).not.toContain(ANSI);
});

test('devices tells the age of the verified state; filters and orders apply', async () => {
  const [row] = await pair.atCentral<{ verified_manifest_id: string }>('SELECT verified_manifest_id FROM waypost.device_status');
  const { json } = await waypostJson<{ total: number; devices: object[] }>(['devices', '--sort', 'age'], atCentral);
  expect(json).toMatchObject({
    total: 1,
    devices: [{ mac: MAC, state: 'fresh', verifiedManifestId: row?.verified_manifest_id, verifiedSequence: 2, consecutiveFailures: 0 }],
  });
  const none = await waypostJson<{ total: number }>(['devices', '--state', 'silent,failing', '--older-than', '1h'], atCentral);
  expect(none).toMatchObject({ code: 0, json: { total: 0, devices: [] } });
});

test('history lists requests, manifests and acks in their order', async () => {
  const { json } = await waypostJson<{ events: { kind: string; outcome: string; at: string }[] }>(['history', '020000000001'], atCentral);
  expect(json.events.map(({ kind, outcome }) => `${kind} ${outcome}`).toSorted()).toEqual(
    ['ack Success', 'manifest Generated', 'request Issued'].flatMap((event) => [event, event]),
  );
  expect(json.events.map(({ at }) => at)).toEqual(json.events.map(({ at }) => at).toSorted());
  const limited = await waypostJson<{ hasMore: boolean; events: { kind: string }[] }>(['history', MAC, '--limit', '1'], atCentral);
  expect(limited.json).toMatchObject({ hasMore: true, events: [{ kind: 'ack' }] });
});

test('manifest has tables, filters and acks; a device stands for its latest, ~1 for the one before', async () => {
  const latest = await manifestOf(MAC);
  expect(latest.tables).toMatchObject([
    { name: 'shops', rowCount: 1, filter: 'id = :shop [shop = 1]' },
    { name: 'articles', rowCount: 2000, filter: 'shop = :shop [shop = 1]' },
  ]);
  expect(latest.acks).toMatchObject([{ result: 'Success' }]);
  const before = await manifestOf(`${MAC}~1`);
  expect(before.manifestId < latest.manifestId).toBe(true);
  expect((await manifestOf(`${latest.manifestId}~1`)).manifestId).toBe(before.manifestId);
  const missing = await waypostJson(['manifest', `${before.manifestId}~1`], atCentral);
  expect(missing).toMatchObject({ code: 1, json: { error: { code: 'MANIFEST_UNKNOWN' } } });
});

test('diff counts the chunks, rows and bytes that differ, while the store has both snapshots', async () => {
  const args = ['diff', `${MAC}~1`, MAC];
  interface Difference {
    equal: boolean;
    tables: { name: string; change: string; rowDelta: number; chunks: Record<string, number> | null }[];
  }
  const { json } = await waypostJson<Difference>(args, atCentral);
  expect(json).toMatchObject({
    equal: false,
    tables: [
      { name: 'shops', change: 'changed', rowDelta: 0 },
      { name: 'articles', change: 'changed' },
    ],
  });
  const chunks = json.tables[1]?.chunks as Record<string, number>;
  // Of 2,000 rows the first 50 changed: they lie in the first chunks.
  expect(chunks['addedChunks']).toBeGreaterThan(0);
  expect(chunks['sharedChunks']).toBeGreaterThan(0);
  expect(chunks['addedRows']).toBeGreaterThanOrEqual(49);
  expect(chunks['addedRows']).toBeLessThan(2000);
  expect((await waypost([...args, '--exit-code'], atCentral)).code).toBe(1);
  expect(await waypostJson(['diff', MAC, MAC, '--exit-code'], atCentral)).toMatchObject({ code: 0, json: { equal: true } });
});

test('plan explain gives the very rows, bytes and hashes that a request would', async () => {
  const plan = ['--plan', pair.centralEnv['SYNC_PLAN'] as string];
  const [latest, { code, json }] = [
    await manifestOf(MAC),
    await waypostJson<{ tables: { name: string; sha256: string; query: string }[]; scope: object }>(
      ['plan', 'explain', MAC, ...plan],
      atCentral,
    ),
  ];
  expect(code).toBe(0);
  expect(json.tables).toMatchObject(latest.tables.map(({ name, rowCount, sha256 }) => ({ name, rowCount, sha256, compared: 'same' })));
  expect(json.scope).toMatchObject({ parameters: [{ name: 'shop', type: 'integer', value: '1' }] });
  const { query } = json.tables[1] as { query: string };
  expect(query).toContain("shop = CAST('1' AS integer)");
  // The query that is shown can be run as it is.
  expect(await pair.atCentral(query)).toHaveLength(2000);
  const stored = await pair.atCentral('SELECT manifest_id FROM waypost.manifests');
  expect(stored).toHaveLength(2);
  const stranger = await waypostJson(['plan', 'explain', 'ff:ff:ff:ff:ff:ff', ...plan], atCentral);
  expect(stranger).toMatchObject({ code: 1, json: { error: { code: 'DEVICE_UNKNOWN' } } });
  expect((await waypost(['plan', 'check', ...plan], atCentral)).out).toContain('fits the database');
});

test('status says first what is wrong and what to do next', async () => {
  await pair.atCentral(
    "UPDATE waypost.device_states SET last_request_at = now() - interval '3 days', verified_at = now() - interval '3 days'",
  );
  const silent = await waypost(['status'], atCentral);
  expect(silent.code).toBe(1);
  const [verdict, , first, next] = silent.out.split('\n');
  expect(verdict).toMatch(/^WRONG {2}2 findings\. 0 devices of 1 fresh\.$/);
  expect(first).toMatch(/^✗ No device has asked for 3 d/);
  expect(next).toMatch(/^ {4}→ Check central’s address/);
  expect(silent.out).toContain('✗ 1 device silent: no request for more than 1 d\n    → waypost devices --state silent');
  const { json } = await waypostJson<{ total: number }>(['devices', '--older-than', '2d', '--state', 'silent'], atCentral);
  expect(json.total).toBe(1);
  const patient = await waypostJson<{ total: number }>(['devices', '--state', 'fresh'], {
    ...atCentral,
    DEVICE_SILENT_AFTER: '7d',
    DEVICE_STALE_AFTER: '7d',
  });
  expect(patient.json.total).toBe(1);
});

test('status of a running central: its address is enough', async () => {
  expect(await waypostJson(['status', '--url', pair.central.url])).toMatchObject({
    code: 0,
    json: { side: 'central', ok: true, service: { answers: true, healthy: true } },
  });
});

test('what a client sent to central reaches no terminal as it is', async () => {
  await fetch(`${pair.central.url}/api/device-sync/request`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ mac: '\u001b[2J\u202eevil' }),
  });
  const { out } = await waypost(['status'], atCentral);
  expect(out).toContain('\\u001b[2J\\u202eevil');
  expect(out).not.toContain(ANSI);
});

test('capture show by the tables’ owner, who may not read what central found, shows the rest and the GRANT that is missing', async () => {
  const asOwner = { ...atCentral, DATABASE_URL: pair.centralOwnerUrl };
  const show = ['capture', 'show', '--plan', await triggersPlan()];
  await pair.atCentral('GRANT USAGE ON SCHEMA waypost TO owner');
  const { code, out } = await waypost(show, asOwner);
  expect({ code, out }).toEqual({ code: 1, out: expect.stringContaining('tables: articles, devices, shops') as unknown });
  const missingRight = 'GRANT SELECT ON waypost.shadow_findings, waypost.canaries TO owner';
  expect(out).toContain(missingRight);
  expect((await waypostJson(show, asOwner)).json).toMatchObject({ whole: false, findings: null, canaries: null, missingRight });
  await pair.atCentral(missingRight);
  expect((await waypostJson(show, asOwner)).json).toMatchObject({ findings: [], canaries: [] });
});

async function triggersPlan(): Promise<string> {
  const path = join(pair.folder.path, 'triggers.yaml');
  await writeFile(path, `changes: triggers\n${await readFile(pair.centralEnv['SYNC_PLAN'] as string, 'utf8')}`);
  return path;
}

test('capture install, show and remove; plan check shows it where the plan asks for it', async () => {
  const plan = await triggersPlan();
  // As docs/sync-plan.md has it: who owns the tables installs the triggers, with the service's rights on schema waypost.
  await pair.atCentral('GRANT waypost TO owner');
  const asOwner = { ...atCentral, DATABASE_URL: pair.centralOwnerUrl };
  const run = (...args: string[]) =>
    waypostJson<{ whole: boolean; unwatched: string[]; removed: string[] }>([...args, '--plan', plan], asOwner);
  const tables = ['articles', 'devices', 'shops'];
  expect(await run('capture', 'show')).toMatchObject({ code: 1, json: { whole: false, tables, unwatched: tables, obstacles: [] } });
  expect((await waypost(['plan', 'check', '--plan', plan], asOwner)).out).toContain('articles has no triggers of Waypost');
  expect(await run('capture', 'install')).toMatchObject({ code: 0, json: { whole: true, tables, unwatched: [], wanted: true } });
  expect((await waypost(['plan', 'check', '--plan', plan], asOwner)).out).toContain('Every change to the 3 tables');
  expect(await run('capture', 'show')).toMatchObject({ code: 0, json: { whole: true } });
  await pair.atCentral("INSERT INTO waypost.shadow_findings (table_name, manifest_id, mac) VALUES ('users', 'x', 'y')");
  expect(await run('capture', 'show')).toMatchObject({ code: 1, json: { whole: false, findings: [{ table: 'users' }] } });
  const found = "INSERT INTO waypost.shadow_findings (table_name, found_by, detail) VALUES ('articles', 'canary', 'DELETE left nothing')";
  await pair.atCentral(`${found}; INSERT INTO waypost.canaries (table_name, checked_at) VALUES ('shops', now())`);
  await pair.atCentral("INSERT INTO waypost.canaries (table_name, not_checked) VALUES ('articles', 'INSERT: the table is locked')");
  const shown = (await waypost(['capture', 'show', '--plan', plan], asOwner)).out;
  expect(shown).toMatch(/A change to users was not captured.*capture-lied\.md.*waypost capture trust users/);
  expect(shown).toMatch(/Writes to articles are not captured.*DELETE left nothing.*canary-failed\.md.*waypost capture trust articles/);
  expect(shown).toMatch(/canary: writes to 1 table tried since .*\ncanary: articles not checked: INSERT: the table is locked/);
  expect((await waypost(['status'], atCentral)).out).toMatch(/Changes to articles were not captured[^]*waypost capture trust articles/);
  expect(await waypostJson(['capture', 'trust', 'articles'], asOwner)).toMatchObject({ code: 0, json: { cleared: true } });
  expect(await waypostJson(['capture', 'trust', 'users'], asOwner)).toMatchObject({ code: 0, json: { cleared: true } });
  expect(await run('capture', 'show')).toMatchObject({ code: 0, json: { whole: true, findings: [] } });
  expect(await waypostJson(['capture', 'remove'], asOwner)).toMatchObject({ code: 0, json: { removed: tables } });
  expect(await run('capture', 'show')).toMatchObject({ code: 1, json: { whole: false } });
});

test('store check finds what is damaged, --repair forgets it, and the next sync builds it again', async () => {
  interface Report {
    whole: boolean;
    repaired: boolean;
    packs: number;
    chunks: number;
    damaged: { packId: string; chunk: string | null }[];
  }
  const check = (...more: string[]) => waypostJson<Report>(['store', 'check', ...more], atCentral);
  const before = await check();
  expect(before).toMatchObject({ code: 0, json: { whole: true, repaired: false, damaged: [], incomplete: [], unknownPacks: 0 } });
  expect(before.json.chunks).toBeGreaterThan(1);

  const folder = join((atCentral['SNAPSHOT_STORE'] as string).slice('file:'.length), 'packs');
  const [pack] = (await readdir(folder)).toSorted();
  const bytes = await readFile(join(folder, pack as string));
  bytes.writeUInt8(bytes.readUInt8(20) ^ 1, 20);
  await writeFile(join(folder, pack as string), bytes);
  const found = await check();
  expect(found).toMatchObject({ code: 1, json: { whole: false, repaired: false, damaged: [{ packId: pack?.slice(0, -5) }] } });
  expect(found.json.damaged[0]?.chunk).toMatch(/^[0-9a-f]{64}$/);
  expect((await waypost(['store', 'check'], atCentral)).out).toContain('1 thing lost or damaged.');
  expect(await check('--repair')).toMatchObject({ code: 0, json: { repaired: true } });

  expect(await check()).toMatchObject({ code: 0, json: { whole: true, chunks: before.json.chunks - 1 } });
  await pair.change();
  await pair.sync();
  expect(await check()).toMatchObject({ code: 0, json: { whole: true } });
  const { SNAPSHOT_STORE: _, ...withoutStore } = atCentral;
  expect(await waypostJson(['store', 'check'], withoutStore)).toMatchObject({ code: 2, json: { error: { code: 'CONFIG_INVALID' } } });
});

test('release lists what is held back, consents for one device or for all, and says who did', async () => {
  expect(await waypostJson(['release'], atCentral)).toMatchObject({ code: 0, json: { held: [] } });
  const hold = (mac: string): Promise<object[]> =>
    pair.atCentral(
      `INSERT INTO waypost.held_shrinks (mac, table_name, base_manifest_id, rows_before, rows_now) VALUES ('${mac}', 'articles', 'm', 2000, 3)`,
    );
  await hold(MAC);
  await hold('02:00:00:00:00:02');
  const listed = await waypost(['release'], atCentral);
  expect(listed.code).toBe(1);
  expect(listed.out).toMatch(/2 devices held back.*\n.*\n {2}02:00:00:00:00:01 {2}articles +2,000 +3 /);
  const one = { mac: MAC, table: 'articles', rowsBefore: 2000, rowsNow: 3 };
  const released = await waypostJson(['release', 'public.Articles', '--mac', '020000000001'], atCentral);
  expect(released).toMatchObject({ code: 0, json: { released: [one] } });
  const [row] = await pair.atCentral<{ released_by: string }>(`SELECT released_by FROM waypost.held_shrinks WHERE mac = '${MAC}'`);
  expect(row?.released_by).toMatch(/^\S+, role \S+$/);
  expect(await waypostJson(['release', 'articles', '--all'], atCentral)).toMatchObject({ code: 0, json: { released: [{ rowsNow: 3 }] } });
  expect(await waypostJson(['release', 'articles', '--all'], atCentral)).toMatchObject({ code: 1, json: { released: [] } });
  for (const args of [['articles'], ['articles', '--all', '--mac', MAC], ['--all']]) {
    expect(await waypostJson(['release', ...args], atCentral)).toMatchObject({ code: 2, json: { error: { code: 'CONFIG_INVALID' } } });
  }
});

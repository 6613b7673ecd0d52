import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { checkBundle, parseVerifierKey } from '@waypost/contracts';
import { queryOn, withClient, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import { testPool } from '../../../../test/support/test-pool.js';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { temporaryFolder, type TemporaryFolder } from '../../../../test/support/temporary-folder.js';
import { appendAll, LedgerDevice } from '../../testing/ledger-device.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import { SHOP_1, SHOP_2 } from '../../testing/shop.js';
import { rotateTrust } from '../trust/rotate-trust.js';
import { exportLedger } from './export-ledger.js';
import { type LedgerFinding, verifyLedger } from './verify-ledger.js';

const CHECKER = join(import.meta.dirname, '..', '..', '..', '..', 'test', 'ledger-checker.mjs');
const run = promisify(execFile);
const RETENTION_MS = 90 * 86_400_000;

let server: TestServer;
let central: OwnCentral;
let pool: pg.Pool;
let folder: TemporaryFolder;
let one: LedgerDevice;

beforeAll(async () => {
  server = await startTestServer();
  folder = await temporaryFolder();
  central = await startOwnCentral({ server, env: { AUTH: 'device' } });
  pool = testPool(central.databaseUrl);
  one = await LedgerDevice.enroll(central, SHOP_1);
  const two = await LedgerDevice.enroll(central, SHOP_2);
  for (let round = 0; round < 4; round += 1) {
    await one.acknowledge();
    await two.acknowledge();
    await appendAll(central);
  }
});
afterAll(async () => {
  await pool?.end();
  await central?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

const deviceId = (): string => one.client.enrolled!.deviceId;

/** What verification finds after this was done to the database; then it is undone. */
async function findingsAfter(sql: string, device?: string): Promise<LedgerFinding[]> {
  const undo = new Error('undone');
  let findings: LedgerFinding[] = [];
  await withClient(pool, (client) =>
    withTransaction(client, 'READ WRITE', async () => {
      const query = queryOn(client);
      if (sql !== '') await query(sql);
      ({ findings } = await verifyLedger(query, { deviceId: device, retentionMs: RETENTION_MS }));
      throw undo;
    }),
  ).catch((error: unknown) => {
    if (error !== undo) throw error;
  });
  return findings;
}

async function bundle(from: Date | null = null): Promise<string> {
  let text = '';
  await withClient(pool, async (client) => {
    const to = new Date(Date.now() + 60_000);
    for await (const line of exportLedger(queryOn(client), { deviceId: deviceId(), from, to })) text += line;
  });
  return text;
}

/** What the second checker prints. */
async function secondOpinion(text: string): Promise<string> {
  const file = join(folder.path, 'bundle.ndjson');
  await writeFile(file, text);
  return run(process.execPath, [CHECKER, file]).then(
    ({ stdout }) => stdout.trim(),
    ({ stdout }: { stdout: string }) => stdout.trim(),
  );
}

test('a ledger that nothing has touched agrees with the audit', async () => {
  expect(await findingsAfter('')).toEqual([]);
  expect(await findingsAfter('', deviceId())).toEqual([]);
});

const LAST_ACK = `(SELECT max(id) FROM waypost.sync_acknowledgements WHERE mac = '${SHOP_1}')`;
const LAST_MANIFEST = `(SELECT manifest_id FROM waypost.sync_acknowledgements WHERE id = ${LAST_ACK})`;
test.each<[string, string, RegExp]>([
  ['a deleted ack', `DELETE FROM waypost.sync_acknowledgements WHERE id = ${LAST_ACK}`, /^acknowledgement \d+: its row was deleted/],
  [
    'an altered duration',
    `UPDATE waypost.sync_acknowledgements SET duration_ms = 1 WHERE id = ${LAST_ACK}`,
    /^acknowledgement \d+: its row was altered/,
  ],
  [
    'an altered time',
    `UPDATE waypost.sync_acknowledgements SET completed_at = completed_at - interval '1 s' WHERE id = ${LAST_ACK}`,
    /its row was altered/,
  ],
  ['a deleted manifest', `DELETE FROM waypost.manifests WHERE manifest_id = ${LAST_MANIFEST}`, /^manifest \w+: its row was deleted/m],
  [
    'an altered count of a manifest',
    `UPDATE waypost.sync_manifests SET row_count = 7 WHERE manifest_id = ${LAST_MANIFEST} AND table_name = 'vaults'`,
    /sync_manifests for vaults was altered/,
  ],
  [
    'a deleted row of a manifest',
    `DELETE FROM waypost.sync_manifests WHERE manifest_id = ${LAST_MANIFEST} AND table_name = 'vaults'`,
    /sync_manifests for vaults was deleted/,
  ],
  [
    'an altered entry',
    `UPDATE waypost.ledger_entries SET entry = replace(entry, 'whole', 'none') WHERE leaf = 2`,
    /^entry 2: it was altered/,
  ],
  ['a deleted entry', `DELETE FROM waypost.ledger_entries WHERE leaf = 3`, /^entry 3: it was deleted/],
  [
    'an altered tile',
    `UPDATE waypost.ledger_tiles SET hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1) WHERE level = 0`,
    /^entry 1: it was altered/,
  ],
  [
    'an altered checkpoint',
    `UPDATE waypost.ledger_checkpoints SET root = sha256(root) WHERE size = 4`,
    /^checkpoint 4: its note says another/,
  ],
])('%s is found, and named', async (_, sql, finding) => {
  const findings = await findingsAfter(sql);
  expect(findings.map(({ place, finding: what }) => `${place}: ${what}`).join('\n')).toMatch(finding);
});

test('a bundle holds for both checkers, and both refuse it with a byte changed, a receipt gone, or in another order', async () => {
  const text = await bundle();
  expect(checkBundle(text)).toMatchObject({ faults: [], receipts: 4, failures: 0 });
  expect(await secondOpinion(text)).toBe('ok');
  const lines = text.split(/(?<=\n)/);
  const wrong: string[] = [
    lines.filter((_, at) => at !== 2).join(''),
    lines.filter((_, at) => at !== 1).join(''),
    lines.filter((_, at) => at !== 4).join(''),
    [lines[0], lines[2], lines[1], ...lines.slice(3)].join(''),
  ];
  for (let at = 5; at < text.length; at += Math.ceil(text.length / 25))
    wrong.push(`${text.slice(0, at)}${text[at] === 'b' ? 'c' : 'b'}${text.slice(at + 1)}`);
  for (const changed of wrong) {
    expect(checkBundle(changed).faults).not.toEqual([]);
    expect(await secondOpinion(changed)).toMatch(/^\d+: /);
  }
});

test('a bundle of a later time begins with a checkpoint of then, which its own continues', async () => {
  const [{ time }] = (await central.sql('SELECT appended_at AS time FROM waypost.ledger_entries WHERE leaf = 4')) as [{ time: Date }];
  const text = await bundle(new Date(time.getTime() + 1));
  const verdict = checkBundle(text);
  expect(verdict.faults).toEqual([]);
  expect(verdict.header?.earlier).toHaveLength(1);
  expect(await secondOpinion(text)).toBe('ok');
});

test('a ledger whose key was replaced agrees with the audit, and who checks a bundle needs the key before for what it signed', async () => {
  const [{ time }] = (await central.sql('SELECT appended_at AS time FROM waypost.ledger_entries WHERE leaf = 4')) as [{ time: Date }];
  await withClient(pool, (client) =>
    withTransaction(client, 'READ WRITE', () => rotateTrust(queryOn(client), { by: 'test', lifeMs: 86_400_000, revokes: true })),
  );
  await one.acknowledge();
  await appendAll(central);
  expect(await findingsAfter('')).toEqual([]);
  const text = await bundle(new Date(time.getTime() + 1));
  const { faults, header } = checkBundle(text);
  expect(faults).toEqual([]);
  expect(await secondOpinion(text)).toBe('ok');
  const keys = header!.keys.map(parseVerifierKey);
  expect(keys).toHaveLength(2);
  expect(checkBundle(text, keys).faults).toEqual([]);
  expect(checkBundle(text, keys.slice(0, 1)).faults).not.toEqual([]);
});

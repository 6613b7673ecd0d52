import type { Ack, AckResponse, Manifest } from '@waypost/contracts';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import type { Answer } from '../../testing/central.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import { failureOf, successOf } from '../../testing/messages.js';
import { SHOP_1 } from '../../testing/shop.js';

const WRONG = 'f'.repeat(64);

let server: TestServer;
let central: OwnCentral;
let manifest: Manifest;

beforeAll(async () => {
  server = await startTestServer();
  central = await startOwnCentral({ server });
});

afterAll(async () => {
  await central?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

beforeEach(async () => {
  await central.sql('UPDATE vaults SET balance = balance + 1');
  manifest = await central.manifestFor(SHOP_1);
});

const success = (change: Partial<Ack> = {}): Ack => successOf(manifest, change);

const send = (ack: Ack): Promise<Answer<AckResponse>> => central.acknowledge(ack);

/** What is stored for the manifest, in order of arrival. */
function stored(): Promise<object[]> {
  return central.sql(
    'SELECT result, reported_status, duration_ms::int, error_text FROM waypost.sync_acknowledgements WHERE manifest_id = $1 ORDER BY id',
    [manifest.manifestId],
  );
}

test('a success with the right counts and hashes is stored as one, with what the device said', async () => {
  const answer = await send(success());
  expect(answer).toMatchObject({
    status: 200,
    body: { manifestId: manifest.manifestId, result: 'Success', reason: null, duplicate: false },
  });
  expect(await stored()).toEqual([{ result: 'Success', reported_status: 'Success', duration_ms: 12, error_text: null }]);
  const [row] = await central.sql(
    'SELECT device_counts_json AS "localCounts", device_hashes_json AS "localChecksums" FROM waypost.sync_acknowledgements WHERE manifest_id = $1',
    [manifest.manifestId],
  );
  expect(success()).toMatchObject(row as object);
});

test('a success is stored once, however often and in whatever form it is sent', async () => {
  const forms = [success(), success(), success({ mac: '02-00-00-00-00-01' }), success({ durationMs: 13 }), success({ error: 'was slow' })];
  const answers = await Promise.all([...forms, ...forms].map(send));
  expect(answers.map(({ status, body }) => [status, body.result])).toEqual(answers.map(() => [200, 'Success']));
  expect(answers.filter(({ body }) => !body.duplicate)).toHaveLength(1);
  expect(await stored()).toHaveLength(1);
  expect((await send(success())).body.duplicate).toBe(true);
});

test('the same failure is stored once, another one beside it, and a success after them', async () => {
  const failure = (error: string | null) => failureOf(manifest, error);
  const answers = [await send(failure('disk full')), await send(failure('disk full')), await send(failure(null)), await send(success())];
  expect(answers.map(({ body }) => [body.result, body.duplicate, body.reason])).toEqual([
    ['Failed', false, 'disk full'],
    ['Failed', true, 'disk full'],
    ['Failed', false, 'The device gave no reason.'],
    ['Success', false, null],
  ]);
  expect(await stored()).toMatchObject([{ error_text: 'disk full' }, { error_text: 'The device gave no reason.' }, { result: 'Success' }]);
});

const { hasOwnProperty } = Object.prototype;
test.each<[string, (ack: Ack) => void, RegExp]>([
  ['a wrong hash', (ack) => (ack.localChecksums['vaults'] = WRONG), /^vaults: sha256 f{64} instead of [0-9a-f]{64}$/],
  ['a wrong count', (ack) => (ack.localCounts['accounts'] = 1499), /^accounts: 1499 rows instead of 1500$/],
  ['a missing count', (ack) => delete ack.localCounts['nothing'], /^nothing: no rows instead of 0$/],
  ['a missing hash', (ack) => delete ack.localChecksums['nothing'], /^nothing: sha256 missing instead of/],
  ['a table that the manifest does not have', (ack) => (ack.localCounts['strangers'] = 1), /^not in the manifest: strangers$/],
  [
    'the names of what every object has',
    (ack) => (ack.localCounts['constructor'] = ack.localCounts[hasOwnProperty.name] = 1),
    /constructor/,
  ],
  [
    'nothing at all',
    (ack) => Object.assign(ack, { localCounts: {}, localChecksums: {} }),
    /^accounts: no rows.*; vaults: no rows.*missing/,
  ],
])('%s makes a success a failure, whatever its status says', async (_, change, reason) => {
  const ack = success();
  change(ack);
  const { status, body } = await send(ack);
  expect({ status, ...body }).toMatchObject({ status: 200, result: 'Failed', reason: expect.stringMatching(reason), duplicate: false });
  expect(await stored()).toMatchObject([{ result: 'Failed', reported_status: 'Success', error_text: expect.stringMatching(reason) }]);
});

test('a failure may leave tables out, but not lie about them', async () => {
  const { body } = await send(success({ status: 'Failed', localCounts: { vaults: 7 }, localChecksums: {} }));
  expect(body).toMatchObject({ result: 'Failed', reason: 'vaults: 7 rows instead of 1' });
});

test('the ack of an expired manifest is taken: a device that was offline tells what it did', async () => {
  await expire();
  expect((await send(success())).body).toMatchObject({ result: 'Success', duplicate: false });
});

test('an error text with every character that JSON may hold is kept as it is', async () => {
  const error = 'a "quoted" \\ line\nbreak \u0001 \\u0000 é 😀 \u2028';
  await send(success({ status: 'Failed', error }));
  expect(await stored()).toMatchObject([{ error_text: error }]);
});

async function expire(): Promise<void> {
  // The document is what is judged, as the device sees it.
  await central.sql(
    `UPDATE waypost.manifests SET expires_at = now() - interval '1 s',
       document = jsonb_set(document::jsonb, '{expiresAt}', '"2020-01-01T00:00:00.000Z"')::json WHERE manifest_id = $1`,
    [manifest.manifestId],
  );
}

test('a duration of more than a year is refused: sums of it would overflow', async () => {
  expect(await send(success({ durationMs: 366 * 86_400_000 + 1 }))).toMatchObject({ status: 400, body: { code: 'REQUEST_INVALID' } });
  expect((await send(success({ durationMs: 366 * 86_400_000 }))).status).toBe(200);
});

test('of counts and hashes only those of the manifest’s tables are stored, whatever is sent', async () => {
  const strangers = Object.fromEntries(Array.from({ length: 5000 }, (_, at) => [`stranger ${at}`, at]));
  const { body } = await send(success({ status: 'Failed', localCounts: { ...strangers, vaults: 1 }, localChecksums: {}, error: 'full' }));
  expect(body).toMatchObject({ result: 'Failed', reason: 'full' });
  const { body: wrong } = await send(success({ localCounts: { ...strangers, vaults: 1 } }));
  expect(wrong.reason).toMatch(/stranger 9 and 4990 more$/);
  const rows = await central.sql<{ counts: object; bytes: number }>(
    `SELECT device_counts_json AS counts, pg_column_size(a) AS bytes FROM waypost.sync_acknowledgements a WHERE manifest_id = $1`,
    [manifest.manifestId],
  );
  expect(rows.map(({ counts }) => counts)).toEqual([{ vaults: 1 }, { vaults: 1 }]);
  for (const { bytes } of rows) expect(bytes).toBeLessThan(4096);
});

test('a loop of failures for one manifest leaves a bounded number of rows; all are answered, and a success after them counts', async () => {
  await send(success());
  await central.sql('DELETE FROM waypost.sync_acknowledgements');
  const failures = Array.from({ length: 60 }, (_, at) => failureOf(manifest, `no ${at}`));
  for (const failure of failures) expect((await send(failure)).body).toMatchObject({ result: 'Failed', duplicate: false });
  expect((await send(failures[0] as Ack)).body).toMatchObject({ duplicate: true });
  expect(await stored()).toHaveLength(20);
  const failuresOf = () => central.sql(`SELECT consecutive_failures AS n FROM waypost.device_states WHERE mac = $1`, [SHOP_1]);
  expect(await failuresOf()).toEqual([{ n: 20 }]);
  expect((await send(success())).body).toMatchObject({ result: 'Success', duplicate: false });
  expect(await failuresOf()).toEqual([{ n: 0 }]);
});

test('rows that a device found altered are kept once each, also with an ack that is there already', async () => {
  const drift = { table: 'vaults', chunks: 2, firstKey: null, lastKey: "7, o'clock", foundAt: '2026-11-27T10:00:00.123456Z' };
  const drifts = [drift, { ...drift, firstKey: '9', lastKey: null }];
  expect(await send(success())).toMatchObject({ body: { result: 'Success', duplicate: false } });
  const repeated = await Promise.all([success({ drifts }), success({ drifts })].map(send));
  expect(repeated).toMatchObject([{ body: { result: 'Success', duplicate: true } }, { body: { result: 'Success', duplicate: true } }]);
  const rows = await central.sql(
    `SELECT mac, table_name AS "table", chunks, first_key AS "firstKey", last_key AS "lastKey" FROM waypost.drift_reports WHERE manifest_id = $1 ORDER BY id`,
    [manifest.manifestId],
  );
  const kept = { mac: SHOP_1, table: 'vaults', chunks: 2 };
  expect(rows).toEqual([
    { ...kept, firstKey: null, lastKey: "7, o'clock" },
    { ...kept, firstKey: '9', lastKey: null },
  ]);
});

test('of drifts only those of the manifest’s tables are kept, and of one device only so many an hour; all acks are answered', async () => {
  const driftsOf = (round: number, table: string) =>
    Array.from({ length: 100 }, (_, at) => ({
      ...{ table, chunks: 1, firstKey: `${round} ${at}`, lastKey: null },
      foundAt: '2026-11-27T10:00:00Z',
    }));
  const kept = () =>
    central.sql<{ table: string; n: number }>('SELECT table_name AS table, count(*)::int AS n FROM waypost.drift_reports GROUP BY 1');
  await central.sql('DELETE FROM waypost.drift_reports');
  expect((await send(success({ drifts: driftsOf(0, 'strangers') }))).status).toBe(200);
  expect(await kept()).toEqual([]);
  for (let round = 0; round < 5; round += 1) expect((await send(success({ drifts: driftsOf(round, 'vaults') }))).status).toBe(200);
  expect(await kept()).toEqual([{ table: 'vaults', n: 200 }]);
  await central.sql(`UPDATE waypost.drift_reports SET reported_at = now() - interval '61 min'`);
  expect((await send(success({ drifts: driftsOf(9, 'vaults') }))).status).toBe(200);
  expect(await kept()).toEqual([{ table: 'vaults', n: 300 }]);
});

test.each([
  [
    'too many',
    {
      drifts: Array.from({ length: 101 }, () => ({
        table: 'vaults',
        chunks: 1,
        firstKey: null,
        lastKey: null,
        foundAt: '2026-11-27T10:00:00Z',
      })),
    },
  ],
  [
    'a key without end',
    { drifts: [{ table: 'vaults', chunks: 1, firstKey: 'k'.repeat(1025), lastKey: null, foundAt: '2026-11-27T10:00:00Z' }] },
  ],
  ['no time', { drifts: [{ table: 'vaults', chunks: 1, firstKey: null, lastKey: null, foundAt: 'yesterday' }] }],
  [
    'a time that no database has',
    { drifts: [{ table: 'vaults', chunks: 1, firstKey: null, lastKey: null, foundAt: '0000-01-01T00:00:00Z' }] },
  ],
  [
    'an offset that no database has',
    { drifts: [{ table: 'vaults', chunks: 1, firstKey: null, lastKey: null, foundAt: '2026-11-27T10:00:00+23:00' }] },
  ],
  [
    'a number that is too high',
    { drifts: [{ table: 'vaults', chunks: 2 ** 31, firstKey: null, lastKey: null, foundAt: '2026-11-27T10:00:00Z' }] },
  ],
  [
    'a character that no text has',
    { drifts: [{ table: 'vaults', chunks: 1, firstKey: 'a\0', lastKey: null, foundAt: '2026-11-27T10:00:00Z' }] },
  ],
])('an ack with drifts is refused where there is %s', async (_, change) => {
  expect(await send(success(change))).toMatchObject({ status: 400, body: { code: 'REQUEST_INVALID' } });
});

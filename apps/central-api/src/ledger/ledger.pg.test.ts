import {
  CHECKPOINT_HEADER,
  consistencyAnswerSchema,
  leafHash,
  ledgerKeysOf,
  type Manifest,
  parseEntry,
  parseVerifierKey,
  receiptSha256,
  type SignedReceipt,
  type SignedTrust,
  tilePath,
  verifyCheckpoint,
  verifyConsistency,
  verifyInclusion,
} from '@waypost/contracts';
import { queryOn, withClient, withTransaction } from '@waypost/runtime';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { testPool } from '../../../../test/support/test-pool.js';
import { until } from '../../../../test/support/until.js';
import { haveOf, successOf } from '../../testing/messages.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import { appendAll, LedgerDevice } from '../../testing/ledger-device.js';
import { ReceiptMaker } from '../../testing/receipts.js';
import { SHOP_1, SHOP_1_TWIN, SHOP_2 } from '../../testing/shop.js';
import { rotateTrust } from '../trust/rotate-trust.js';

let server: TestServer;
let central: OwnCentral;

beforeAll(async () => {
  server = await startTestServer();
  central = await startOwnCentral({ server, env: { AUTH: 'device' } });
});
afterAll(async () => {
  await central?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

const Device = { enroll: (mac: string): Promise<LedgerDevice> => LedgerDevice.enroll(central, mac) };

const append = (): Promise<void> => appendAll(central);
const entries = (): Promise<{ leaf: number; entry: string }[]> =>
  central.sql('SELECT leaf::int, entry FROM waypost.ledger_entries ORDER BY leaf');

let one: LedgerDevice;
let two: LedgerDevice;
beforeAll(async () => {
  one = await Device.enroll(SHOP_1);
  two = await Device.enroll(SHOP_2);
});

test('a receipt is in the ledger after its ack, with the proof of it, and the checkpoint comes with the next answer', async () => {
  const receipt = await one.acknowledge();
  await append();
  const { size, root } = await one.checkpoint();
  const { entry, index, proof } = await one.inclusion(`receipt=${receiptSha256(receipt.body)}`, size);
  expect(parseEntry(entry)).toMatchObject({ kind: 'receipt', receipt: receipt.body, signature: receipt.signature });
  expect(verifyInclusion({ leafHash: leafHash(Buffer.from(entry)), index, size, proof, root })).toBe(true);
  const { headers } = await one.ask();
  const note = Buffer.from(headers.get(CHECKPOINT_HEADER) as string, 'base64').toString();
  expect(note).toBe(await (await one.get('checkpoint')).text());
});

test('the tree grows as its proofs say, over more than one tile', async () => {
  await append();
  const before = await one.checkpoint();
  const manifest = await one.manifest();
  for (let round = 0; round < 15; round += 1) {
    const receipts = Array.from({ length: 20 }, () => one.receipts.next(manifest));
    expect((await one.send(successOf(manifest, { receipts }))).status).toBe(200);
    if (round % 4 === 0) await append();
  }
  await append();
  const after = await one.checkpoint();
  expect(after.size).toBe(before.size + 300);
  const answer = consistencyAnswerSchema.parse(await (await one.get(`proof/consistency?from=${before.size}&to=${after.size}`)).json());
  const claim = { oldSize: before.size, oldRoot: before.root, newSize: after.size, newRoot: after.root, proof: answer.proof };
  expect(verifyConsistency(claim)).toBe(true);
  for (const { leaf, entry } of (await entries()).filter(({ leaf }) => leaf % 17 === 0 || leaf > 295)) {
    const { proof, index } = await one.inclusion(`index=${leaf}`, after.size);
    expect(verifyInclusion({ leafHash: leafHash(Buffer.from(entry)), index, size: after.size, proof, root: after.root })).toBe(true);
  }
  const tile = await one.get(tilePath({ level: 0, index: 0, width: 256 }));
  const hashes = Buffer.from(await tile.arrayBuffer());
  expect(hashes.equals(Buffer.concat((await entries()).slice(0, 256).map(({ entry }) => leafHash(Buffer.from(entry)))))).toBe(true);
  expect((await one.get('tile/entries/000')).status).toBe(404);
});

test('a receipt that comes again is one entry', async () => {
  const manifest = await one.manifest();
  const ack = one.receipts.ack(manifest);
  const sent = await Promise.all([one.send(ack), one.send(ack), one.send(ack)]);
  expect(sent.map(({ status }) => status)).toEqual([200, 200, 200]);
  await append();
  expect((await one.send(ack)).body).toMatchObject({ duplicate: true });
  await append();
  const { body } = ack.receipts![0] as SignedReceipt;
  expect((await entries()).filter(({ entry }) => (parseEntry(entry) as { receipt?: string }).receipt === body)).toHaveLength(1);
  expect(await central.sql('SELECT FROM waypost.ledger_queue')).toEqual([]);
});

test.each<[string, (ack: ReturnType<ReceiptMaker['ack']>, manifest: Manifest) => unknown, RegExp]>([
  ['an altered body', (ack) => (ack.receipts![0]!.body = ack.receipts![0]!.body.replace('"whole"', '"none"')), /signature/],
  ['an altered signature', (ack) => (ack.receipts![0]!.signature = 'A'.repeat(86)), /signature/],
  ['another device', (ack, manifest) => (ack.receipts = [new ReceiptMaker(two.client).next(manifest)]), /not of its sender/],
  ['other counts', (ack, { tables }) => (ack.localCounts[tables[0]!.name] = 0), /other counts/],
  ['another result', (ack) => (ack.status = 'Failed'), /unlike its ack/],
])('a receipt with %s is refused, with its ack, and is audited', async (_, change, reason) => {
  const manifest = await one.manifest();
  const ack = new ReceiptMaker(one.client).ack(manifest);
  change(ack, manifest);
  const { status, body } = await one.send(ack);
  expect({ ...body, status }).toMatchObject({ status: 422, code: 'RECEIPT_INVALID', detail: expect.stringMatching(reason) as string });
  expect(await central.audit(1)).toMatchObject([{ operation: 'ack', status: 'Refused', reason: 'RECEIPT_INVALID' }]);
  expect(await central.sql('SELECT FROM waypost.sync_acknowledgements WHERE manifest_id = $1', [manifest.manifestId])).toEqual([]);
});

test('a gap and a second receipt of one number are taken, and told', async () => {
  const device = await Device.enroll(SHOP_1_TWIN);
  const manifest = await device.manifest();
  device.receipts.next(manifest);
  await device.send(device.receipts.ack(manifest));
  await append();
  const chain = () => central.sql('SELECT finding, findings FROM waypost.ledger_chains WHERE key = $1', [device.client.thumbprint]);
  expect(await chain()).toEqual([{ finding: 'receipt 1 is missing before receipt 2', findings: 1 }]);
  await device.send(new ReceiptMaker(device.client).ack(await device.manifest()));
  await append();
  expect(await chain()).toEqual([{ finding: expect.stringContaining('came after receipt 2') as string, findings: 2 }]);
  const health = await (await fetch(`${central.url}/health`)).json();
  expect(health).toMatchObject({ details: { ledger: { status: 'degraded', brokenChains: 1 } } });
  await central.sql('DELETE FROM waypost.ledger_chains WHERE key = $1', [device.client.thumbprint]);
});

test('a device gets no entry of another', async () => {
  const receipt = await one.acknowledge();
  await append();
  const { size } = await one.checkpoint();
  const answer = await two.get(`proof/inclusion?receipt=${receiptSha256(receipt.body)}&size=${size}`);
  expect([answer.status, await answer.json()]).toMatchObject([404, { code: 'LEDGER_NOT_FOUND' }]);
  expect((await fetch(`${central.url}/api/ledger/checkpoint`)).status).toBe(401);
});

test('processes that append at one time make one tree', async () => {
  const manifest = await one.manifest();
  const receipts = Array.from({ length: 20 }, () => one.receipts.next(manifest));
  await one.send(successOf(manifest, { receipts }));
  await Promise.all([append(), append(), append()]);
  await append();
  const { size, root } = await one.checkpoint();
  const [{ index, entry }] = [await one.inclusion(`receipt=${receiptSha256(receipts[19]!.body)}`, size)];
  const { proof } = await one.inclusion(`index=${index}`, size);
  expect(verifyInclusion({ leafHash: leafHash(Buffer.from(entry)), index, size, proof, root })).toBe(true);
  expect((await entries()).map(({ leaf }) => leaf)).toEqual(Array.from({ length: size }, (_, at) => at));
});

test('unchanged polls of an hour are one entry for each device', async () => {
  await one.acknowledge();
  const [{ id }] = (await central.sql(`
    INSERT INTO waypost.sync_requests (mac, manifest_id, requested_at, operation, status, reason, duration_ms, request_id)
    SELECT '${SHOP_1}', (SELECT manifest_id FROM waypost.manifests WHERE mac = '${SHOP_1}' ORDER BY sequence DESC LIMIT 1),
      (SELECT polls_until FROM waypost.ledger_head) - interval '90 minutes', 'request', 'Issued', 'unchanged', 1, 'r' || n
    FROM generate_series(1, 7) AS n RETURNING id::int`)) as [{ id: number }];
  expect(id).toBeGreaterThan(0);
  await central.sql("UPDATE waypost.ledger_head SET polls_until = polls_until - interval '2 hours'");
  const found = () => central.sql("SELECT FROM waypost.ledger_entries WHERE kind = 'polls'");
  await until(async () => {
    await append();
    return (await found()).length > 0;
  });
  const polls = (await entries()).map(({ entry }) => parseEntry(entry)).filter(({ kind }) => kind === 'polls');
  expect(polls).toMatchObject([{ device: one.client.enrolled!.deviceId, mac: SHOP_1, polls: 7 }]);
});

test('a device’s report of a fork is kept once, audited, and alarms; also when it comes after it was resolved', async () => {
  const seen = await (await one.get('checkpoint')).text();
  const report = { seen, received: 'nonsense', reason: 'the roots differ' };
  const send = async (): Promise<void> => {
    const answer = await fetch(`${central.url}/api/ledger/forks`, {
      method: 'POST',
      headers: { ...one.headers, 'content-type': 'application/json' },
      body: JSON.stringify(report),
    });
    expect(answer.status).toBe(204);
  };
  const audited = () =>
    central.sql("SELECT mac, status FROM waypost.sync_requests WHERE operation = 'ledger' AND reason = 'LEDGER_FORKED'");
  const row = { mac: SHOP_1, status: 'Issued' };
  await send();
  await send();
  expect(await audited()).toEqual([row]);
  await central.sql('UPDATE waypost.ledger_forks SET resolved_at = now()');
  await send();
  expect(await audited()).toEqual([row, row]);
  expect(await central.sql('SELECT reason, is_signed FROM waypost.ledger_forks WHERE resolved_at IS NULL')).toEqual([
    { reason: 'the roots differ', is_signed: false },
  ]);
  await append();
  expect(await (await fetch(`${central.url}/health`)).json()).toMatchObject({ details: { ledger: { status: 'degraded', forks: 1 } } });
  expect(await (await fetch(`${central.url}/metrics`)).text()).toMatch(/^waypost_central_ledger_forks(\{.*\})? 1$/m);
});

test('a poll of a device that holds its manifest has the checkpoint, too', async () => {
  const manifest = await one.manifest();
  const { headers } = await central.post(
    '/api/device-sync/request',
    { mac: SHOP_1, ...haveOf(manifest) },
    { ...one.headers, prefer: 'return=minimal' },
  );
  const { origin, keys } = (await (await one.get('key')).json()) as { origin: string; keys: string[] };
  const note = Buffer.from(headers.get(CHECKPOINT_HEADER) as string, 'base64').toString();
  const { size } = verifyCheckpoint(note, { origin, keys: keys.map(parseVerifierKey) });
  expect(size).toBe((await one.checkpoint()).size);
});

describe('a key of the ledger that was replaced', () => {
  /** As a device that follows the fleet's trust document. */
  const verifiersOf = ({ document }: SignedTrust) => {
    const { origin, keys } = ledgerKeysOf(document, new Date())!;
    return { origin, keys: keys.map(parseVerifierKey) };
  };
  const rotate = async (revokes: boolean): Promise<SignedTrust> => {
    const pool = testPool(central.databaseUrl, 1);
    try {
      return await withClient(pool, (client) =>
        withTransaction(client, 'READ WRITE', () => rotateTrust(queryOn(client), { by: 'test', lifeMs: 86_400_000, revokes })),
      );
    } finally {
      await pool.end();
    }
  };

  test.each([false, true])('signs what the ledger has, and what it gets (revoked: %s)', async (revokes) => {
    await append();
    const before = await one.checkpoint();
    const trusted = verifiersOf(await rotate(revokes));
    const again = verifyCheckpoint(await (await one.get('checkpoint')).text(), trusted);
    expect(again).toMatchObject({ size: before.size, root: before.root });
    expect(again.signedBy).not.toEqual(before.signedBy);
    await append();
    const { headers } = await one.ask();
    const sent = Buffer.from(headers.get(CHECKPOINT_HEADER) as string, 'base64').toString();
    expect(verifyCheckpoint(sent, trusted).signedBy).toEqual(again.signedBy);
    await one.acknowledge();
    await append();
    const later = verifyCheckpoint(await (await one.get('checkpoint')).text(), trusted);
    expect(later.size).toBeGreaterThan(before.size);
    expect(later.signedBy).toEqual(again.signedBy);
  });
});

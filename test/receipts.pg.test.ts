import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { checkBundle, parseEntry, parseReceipt, type Receipt, type ReceiptEntry } from '@waypost/contracts';
import { MAC, SyncPair } from './support/sync-pair.js';
import { until } from './support/until.js';
import { waypost, waypostJson } from './support/waypost.js';

/** Real processes: what an enrolled device acknowledged is signed, in central's ledger once, and proven to someone who trusts neither. */

const CHECKER = join(import.meta.dirname, 'ledger-checker.mjs');
const run = promisify(execFile);

let pair: SyncPair;
let atCentral: Record<string, string>;

beforeAll(async () => {
  ({ pair, atCentral } = await SyncPair.startEnrolled());
});
afterAll(() => pair?.[Symbol.asyncDispose]());

const ACK = '/api/device-sync/ack';

/** The receipts of the ledger, once nothing waits for it. */
async function receipts(): Promise<Receipt[]> {
  await until(async () => (await pair.atCentral('SELECT FROM waypost.ledger_queue')).length === 0);
  const rows = await pair.atCentral<{ entry: string }>(`SELECT entry FROM waypost.ledger_entries WHERE kind = 'receipt' ORDER BY leaf`);
  return rows.map(({ entry }) => parseReceipt((parseEntry(entry) as ReceiptEntry).receipt));
}

interface Report {
  size: number;
  entries: number;
  receipts: number;
  findings: { place: string; finding: string }[];
}

const verify = (env: Record<string, string> = {}) => waypostJson<Report>(['ledger', 'verify'], { ...atCentral, ...env });

test('a success leaves a signed receipt', async () => {
  expect(await pair.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  expect(await receipts()).toMatchObject([{ mac: MAC, sequence: 1, previous: null, result: 'Success', error: null }]);
});

test('a failure leaves one, too, with the code of the error', async () => {
  await pair.atEdge('ALTER TABLE articles ADD CONSTRAINT short CHECK (length(name) = 128)');
  await pair.change();
  const { code, ack } = await pair.sync();
  expect(ack).toBe('sent');
  expect((await receipts()).at(-1)).toMatchObject({ sequence: 2, result: 'Failed', error: code, tables: [] });
  await pair.atEdge('ALTER TABLE articles DROP CONSTRAINT short');
});

test('an ack whose answer is lost is sent again, and is in the ledger once', async () => {
  const acks: number[] = [];
  pair.gateway.after = (exchange) => {
    if (exchange.path !== ACK) return exchange;
    acks.push(exchange.status);
    throw new Error('the answer is lost');
  };
  expect(await pair.sync()).toMatchObject({ status: 'Success', ack: 'queued' });
  expect(await receipts()).toHaveLength(3);
  pair.gateway.after = (exchange) => {
    if (exchange.path === ACK) acks.push(exchange.status);
    return exchange;
  };
  await pair.sync();
  pair.gateway.heal();
  expect(acks.length).toBeGreaterThan(1);
  expect(new Set(acks)).toEqual(new Set([200]));
  expect((await receipts()).map(({ sequence }) => sequence)).toEqual([1, 2, 3]);
  expect(await pair.atEdge('SELECT FROM waypost.edge_acks')).toEqual([]);
});

test.each([[{}], [{ AUDIT_RETENTION: '0' }], [{ AUDIT_RETENTION: '90d' }]])('ledger verify finds nothing, with %j', async (env) => {
  const { code, json } = await verify(env);
  expect({ code, json }).toMatchObject({ code: 0, json: { entries: 3, receipts: 3, findings: [] } });
});

test('an AUDIT_RETENTION that is no duration is refused', async () => {
  const { code, json } = await waypostJson<object>(['ledger', 'verify'], { ...atCentral, AUDIT_RETENTION: 'x' });
  expect({ code, json }).toMatchObject({
    code: 2,
    json: { error: { code: 'CONFIG_INVALID', detail: expect.stringContaining('AUDIT_RETENTION') as string } },
  });
});

test('an export holds without any database, for a second checker too, until a byte of it is changed', async () => {
  const file = join(pair.folder.path, 'receipts.ndjson');
  const exported = await waypostJson<object>(['ledger', 'export', '--device', MAC, '--out', file], atCentral);
  expect(exported).toMatchObject({ code: 0, json: { file, entries: 3 } });
  const checked = await waypostJson<object>(['ledger', 'check', file]);
  expect(checked).toMatchObject({ code: 0, json: { holds: true, faults: [], receipts: 3, failures: 1 } });
  const { stdout } = await run(process.execPath, [CHECKER, file]);
  expect(stdout.trim()).toBe('ok');
  const altered = (await readFile(file, 'utf8')).replace('Failed', 'Success');
  expect(checkBundle(altered).faults).not.toEqual([]);
});

test('an acknowledgement that a superuser altered is named', async () => {
  const [row] = await pair.atCentral<{ id: string }>(
    `UPDATE waypost.sync_acknowledgements SET duration_ms = duration_ms + 1 WHERE result = 'Failed' RETURNING id`,
  );
  expect(await verify()).toMatchObject({
    code: 1,
    json: { findings: [{ place: `acknowledgement ${row!.id}`, finding: expect.stringContaining('its row was altered') as string }] },
  });
  const told = await waypost(['ledger', 'verify', '--device', MAC], atCentral);
  expect(told).toMatchObject({ code: 1, out: expect.stringContaining(`acknowledgement ${row!.id}`) as string });
});

import { CHECKPOINT_HEADER } from '@waypost/contracts';
import { MAC, SyncPair } from './support/sync-pair.js';
import { until } from './support/until.js';
import { waypost, waypostJson } from './support/waypost.js';

/** Real processes: a device watches central's ledger, whose keys are replaced, and then a central that does not show it any more. */
let pair: SyncPair;
let atCentral: Record<string, string>;

beforeAll(async () => {
  ({ pair, atCentral } = await SyncPair.startEnrolled());
});
afterAll(() => pair?.[Symbol.asyncDispose]());

interface Seen {
  keys: string[];
  size: number;
}

const seen = async (): Promise<Seen | undefined> => (await pair.atEdge<Seen>('SELECT keys, size::int FROM waypost.edge_ledger'))[0];
const unchecked = (): Promise<object[]> =>
  pair.atEdge('SELECT FROM waypost.edge_receipts WHERE sent_at IS NOT NULL AND included_at IS NULL');
const findings = (): Promise<object[]> => pair.atEdge('SELECT reason FROM waypost.edge_ledger_forks');

/** Syncs a change, and polls until the device has seen its receipt in the ledger. */
async function acknowledge(): Promise<Seen> {
  await pair.change();
  expect(await pair.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  await until(async () => {
    expect(await pair.sync()).toMatchObject({ httpStatus: 200 });
    return (await unchecked()).length === 0;
  });
  return (await seen())!;
}

test.each([[[]], [['--revoke-now']]])('a device follows a ledger whose key is replaced while all run (keys rotate %j)', async (args) => {
  const before = await acknowledge();
  expect(await waypost(['keys', 'rotate', ...args], atCentral)).toMatchObject({ code: 0 });
  expect(await pair.sync()).toMatchObject({ httpStatus: 200 });
  const after = await acknowledge();
  expect(after.size).toBeGreaterThan(before.size);
  expect(after.keys[0]).not.toBe(before.keys[0]);
  expect(after.keys.includes(before.keys[0]!)).toBe(args.length === 0);
  expect(await findings()).toEqual([]);
  const { json } = await waypostJson<{ keys: { use: string; state: string }[] }>(['keys', 'show'], atCentral);
  expect(json.keys.filter(({ state }) => state === 'signs').map(({ use }) => use)).toEqual(['manifest', 'checkpoint']);
});

test('a central that withholds its ledger is found by the device, and both sides keep it and alarm', async () => {
  await acknowledge();
  pair.gateway.after = (exchange) => {
    exchange.headers.delete(CHECKPOINT_HEADER);
    return exchange.path.startsWith('/api/ledger/') ? { ...exchange, status: 404, body: Buffer.from('not found') } : exchange;
  };
  for (let polls = 0; polls < 3; polls += 1) {
    expect(await pair.sync()).toMatchObject({ httpStatus: 200 });
    expect(await findings()).toEqual([]);
    await pair.atEdge("UPDATE waypost.edge_ledger_withheld SET since = since - interval '4 minutes'");
  }
  expect(await pair.sync()).toMatchObject({ httpStatus: 200 });
  const reason = expect.stringContaining('withheld its ledger') as string;
  expect(await findings()).toEqual([{ reason }]);
  const health = (await (await fetch(`${pair.edge.url}/health`)).json()) as { details: Record<string, unknown> };
  expect(health.details['ledger']).toMatchObject({ status: 'degraded', code: 'LEDGER_FORKED', forks: 1 });

  pair.gateway.heal();
  expect(await pair.sync()).toMatchObject({ httpStatus: 200 });
  expect(await pair.atCentral('SELECT reason FROM waypost.ledger_forks WHERE resolved_at IS NULL')).toEqual([{ reason }]);
  expect(await pair.atCentral("SELECT mac, operation FROM waypost.sync_requests WHERE reason = 'LEDGER_FORKED'")).toEqual([
    { mac: MAC, operation: 'ledger' },
  ]);
  expect(await pair.atEdge('SELECT FROM waypost.edge_ledger_withheld')).toEqual([]);
});

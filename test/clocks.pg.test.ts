import { SettableClock } from './support/settable-clock.js';
import { SyncPair } from './support/sync-pair.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { until } from './support/until.js';

/** Real services whose clocks are wrong, or are set while they work. */

const DAY_MS = 86_400_000;
const TIMES: Record<string, number> = {
  'at 1970': -Date.now() + 60_000,
  'a day behind': -DAY_MS,
  'a day ahead': DAY_MS,
  'ten years ahead': 3652 * DAY_MS,
};

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let edgeClock: SettableClock;
let centralClock: SettableClock;
let pair: SyncPair;

beforeAll(async () => {
  folder = await temporaryFolder();
  edgeClock = await SettableClock.make(folder.path, 'edge');
  centralClock = await SettableClock.make(folder.path, 'central');
  pair = await SyncPair.start({ centralEnv: centralClock.env, edgeEnv: edgeClock.env });
  expect(await pair.sync()).toMatchObject({ status: 'Success' });
});

afterEach(async () => {
  pair.gateway.heal();
  await edgeClock.shift(0);
  await centralClock.shift(0);
});

afterAll(async () => {
  await pair?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

async function expectInOrder(): Promise<void> {
  expect(await pair.contents()).toBe(await pair.share());
  const wrong = 'duration_ms < 0 OR duration_ms > 3600000';
  expect(await pair.atEdge(`SELECT * FROM waypost.edge_sync_log WHERE ${wrong} OR completed_at < started_at`)).toEqual([]);
  expect(await pair.atCentral(`SELECT * FROM waypost.sync_acknowledgements WHERE ${wrong}`)).toEqual([]);
  expect(await pair.atCentral(`SELECT * FROM waypost.sync_requests WHERE ${wrong}`)).toEqual([]);
  expect(await pair.atEdge('SELECT * FROM waypost.edge_acks')).toEqual([]);
}

test.each(Object.keys(TIMES))("a device's clock %s changes nothing, before and after it is set right", async (name) => {
  await edgeClock.shift(TIMES[name] as number);
  await pair.change();
  expect(await pair.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  await expectInOrder();
  expect((await pair.status()).verifiedAgeMs).toBeLessThan(600_000);
  await edgeClock.shift(0);
  expect((await pair.status()).verifiedAgeMs).toBeLessThan(600_000);
  await pair.change();
  expect(await pair.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  await expectInOrder();
});

test.each([
  ['back', -DAY_MS],
  ['forward', DAY_MS],
])("a device's clock that is set %s in the middle of a cycle neither fails it nor falsifies its duration", async (_name, ms) => {
  await pair.change();
  pair.gateway.before = async (path) => {
    if (path.includes('/chunks')) await edgeClock.shift(ms);
  };
  const answer = await pair.sync();
  expect(answer).toMatchObject({ status: 'Success', ack: 'sent' });
  expect(answer.durationMs).toBeGreaterThanOrEqual(0);
  expect(answer.durationMs).toBeLessThan(600_000);
  await expectInOrder();
});

test('after a restart with a clock at 1970 the verified state is at least as old as the process', async () => {
  await edgeClock.shift(TIMES['at 1970'] as number);
  await pair.restartEdge();
  await until(async () => (await pair.status()).lastSuccess !== null);
  const { verifiedAgeMs } = await pair.status();
  expect(verifiedAgeMs).toBeGreaterThan(0);
  expect(verifiedAgeMs).toBeLessThan(600_000);
  expect(await pair.sync()).toMatchObject({ status: 'Unchanged' });
});

test("a breaker that is open when the device's clock is set back closes as soon as central is there again", async () => {
  const { target } = pair.gateway;
  pair.gateway.target = 'http://127.0.0.1:9'; // no process listens there
  await until(async () => (await pair.sync()).detail?.includes('not asked again') ?? false);
  await edgeClock.shift(-365 * DAY_MS);
  pair.gateway.target = target;
  await until(async () => (await pair.sync()).httpStatus === 200);
  await expectInOrder();
});

test("a manifest that has expired by central's clock is not accepted, whatever the device's clock says", async () => {
  await pair.change();
  const old = await pair.contents();
  await edgeClock.shift(-3 * DAY_MS);
  // Central is two days further when it answers, as if the answer had been kept somewhere.
  pair.gateway.after = (exchange) => {
    exchange.headers.set('date', new Date(Date.now() + 2 * DAY_MS).toUTCString());
    return exchange;
  };
  expect(await pair.sync()).toMatchObject({ code: 'MANIFEST_EXPIRED' });
  expect(await pair.contents()).toBe(old);
  pair.gateway.heal();
  expect(await pair.sync()).toMatchObject({ status: 'Success' });
  await expectInOrder();
});

test.each(Object.keys(TIMES))("central's clock %s: devices stay equal, then and after it is set right", async (name) => {
  await centralClock.shift(TIMES[name] as number);
  await pair.change();
  expect(await pair.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  await expectInOrder();
  await centralClock.shift(0);
  // As before the last change: a manifest of the wrong time says the same as the one that is due.
  await pair.atCentral("UPDATE shops SET name = rtrim(name, '!'); UPDATE articles SET name = rtrim(name, '!')");
  expect(await pair.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  await pair.change();
  const back = await pair.sync();
  expect(back).toMatchObject({ status: 'Success', ack: 'sent' });
  expect(await pair.sync()).toMatchObject({ status: 'Unchanged', manifestId: back.manifestId });
  await expectInOrder();
});

test("central's clock that is set in the middle of a cycle fails nothing", async () => {
  await pair.change();
  let sets = 0;
  pair.gateway.before = async (path) => {
    if (path.includes('/chunks') && (sets += 1) === 1) await centralClock.shift(3 * DAY_MS);
  };
  expect(await pair.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  await expectInOrder();
});

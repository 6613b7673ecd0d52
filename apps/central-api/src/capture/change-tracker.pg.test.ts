import { jest } from '@jest/globals';
import { createLogger, createPool, removeTriggers, withClient, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { installCapture } from '../../testing/capture.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import { SHOP_PLAN } from '../../testing/shop.js';
import { checkPlan } from '../plan/check-plan.js';
import { parsePlan } from '../plan/read-plan.js';
import { ChangeTracker } from './change-tracker.js';
import { FINGERPRINT_CATALOG } from './sources.sql.js';

const PLAN = `${SHOP_PLAN}\nchanges: triggers\n`;

let server: TestServer;
let central: OwnCentral;
let pool: pg.Pool;
let tracker: ChangeTracker;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());

beforeEach(async () => {
  central = await startOwnCentral({ server });
  pool = createPool({ url: central.databaseUrl, applicationName: 'test', maxConnections: 2, onIdleError: () => undefined });
  tracker = new ChangeTracker(await checkPlan(pool, parsePlan('plan.yaml', PLAN)), createLogger('test', 'silent'));
});
afterEach(async () => {
  await pool?.end();
  await central?.[Symbol.asyncDispose]();
});

const install = () => installCapture(central.databaseUrl, PLAN);
const remove = () => withClient(pool, (client) => withTransaction(client, 'READ WRITE', () => removeTriggers(client)));
const isWhole = () => withClient(pool, async (client) => (await tracker.refresh(client)) !== undefined);

/** As `isWhole`, with work of another session between the look at the triggers and the look at the versions of all definitions. */
async function isWholeMeanwhile(work: () => Promise<unknown>): Promise<boolean> {
  return withClient(pool, async (client) => {
    const query: (...args: never[]) => Promise<unknown> = client.query.bind(client);
    let isDue = true;
    const spy = jest.spyOn(client, 'query').mockImplementation((...args: unknown[]): void => {
      const [{ text, values }] = args as [{ text?: string; values?: unknown[][] }];
      const isReached = isDue && text === FINGERPRINT_CATALOG && values?.[0]?.length;
      if (!isReached) return query(...(args as never[])) as never;
      isDue = false;
      return work().then(() => query(...(args as never[]))) as never;
    });
    const found = await tracker.refresh(client);
    spy.mockRestore();
    expect(isDue).toBe(false);
    return found !== undefined;
  });
}

test('capture that is installed while it is looked for, is found', async () => {
  expect(await isWholeMeanwhile(install)).toBe(true);
  expect(await isWhole()).toBe(true);
});

test('capture that is removed while it is looked at, is not called whole, then or later', async () => {
  await install();
  expect(await isWholeMeanwhile(remove)).toBe(false);
  expect(await isWhole()).toBe(false);
  await install();
  expect(await isWhole()).toBe(true);
});

test('where definitions are altered at each look, nothing is called whole before they rest', async () => {
  await install();
  let count = 0;
  const fingerprints = jest.spyOn(tracker as unknown as { fingerprint: () => Promise<string> }, 'fingerprint');
  fingerprints.mockImplementation(async () => `version ${(count += 1)}`);
  expect(await isWhole()).toBe(false);
  fingerprints.mockRestore();
  expect(await isWhole()).toBe(true);
});

import { scrape } from '../../../../test/support/samples.js';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { type Central, startCentral } from '../../testing/central.js';
import { successOf } from '../../testing/messages.js';
import { SHOP_1, SHOP_PLAN, SHOP_SCHEMA } from '../../testing/shop.js';
import { runSql } from '../../testing/sql.js';

const FLEET = 'waypost_central_fleet_';

let server: TestServer;
let databaseUrl: string;

beforeAll(async () => {
  server = await startTestServer();
});
beforeEach(async () => {
  databaseUrl = (await server.createDatabase()).url;
  await runSql(databaseUrl, SHOP_SCHEMA);
});
afterAll(() => server?.[Symbol.asyncDispose]());

const start = (env: Record<string, string> = {}): Promise<Central> => startCentral({ databaseUrl, plan: SHOP_PLAN, env });

/** SQL intervals since each fact; null where it never happened. */
interface Device {
  asked: string;
  verified?: string;
  failed?: string;
  code?: string;
  failures?: number;
}

async function addDevices(central: Central, devices: Device[]): Promise<void> {
  for (const [index, { asked, verified = null, failed = null, code = null, failures = 0 }] of devices.entries()) {
    await central.sql(
      `INSERT INTO waypost.device_states
         (mac, first_seen_at, last_request_at, last_manifest_id, verified_at, last_failure_at, last_error_code, consecutive_failures, filters)
       VALUES ($1, now() - interval '90 d', now() - $2::interval, 'm', now() - $3::interval, now() - $4::interval, $5, $6, '{}')`,
      [`02:00:00:00:01:${String(index).padStart(2, '0')}`, asked, verified, failed, code, failures],
    );
  }
}

/** What starts with `prefix`, which is left out of the names. */
const part = (samples: Map<string, number>, prefix: string) =>
  Object.fromEntries([...samples].filter(([name]) => name.startsWith(prefix)).map(([name, value]) => [name.slice(prefix.length), value]));

test('each device is in one state, the first that fits', async () => {
  await using central = await start({ DEVICE_STALE_AFTER: '2h', DEVICE_SILENT_AFTER: '12h' });
  await addDevices(central, [
    { asked: '1 min', verified: '1 min' },
    { asked: '1 min', verified: '110 min', failed: '2 h', code: 'CENTRAL_BUSY' },
    { asked: '1 min', verified: '3 h' },
    { asked: '13 h', verified: '13 h' },
    { asked: '13 h', verified: '14 h', failed: '13 h', code: 'VERIFICATION_FAILED', failures: 1 },
    { asked: '1 min', verified: '10 min', failed: '1 min', code: 'SCHEMA_VERSION_MISMATCH', failures: 3 },
    { asked: '1 min', failed: '1 min', code: 'SCHEMA_VERSION_MISMATCH', failures: 40 },
    { asked: '40 d', failed: '40 d', code: 'made up by a device', failures: 2 },
  ]);
  const samples = await scrape(central.url);
  expect(part(samples, `${FLEET}devices{state=`)).toEqual({
    '"fresh"}': 2,
    '"stale"}': 1,
    '"silent"}': 2,
    '"failing"}': 1,
    '"never"}': 2,
  });
  expect(part(samples, `${FLEET}verified_age_devices{le=`)).toEqual({
    '"300"}': 1,
    '"900"}': 2,
    '"3600"}': 2,
    '"21600"}': 4,
    '"86400"}': 6,
    '"604800"}': 6,
    '"2592000"}': 6,
    '"+Inf"}': 6,
  });
  expect(part(samples, `${FLEET}devices_without_ack{hours=`)).toEqual({ '"24"}': 2, '"72"}': 2, '"168"}': 2 });
  expect(part(samples, `${FLEET}failing_devices{code=`)).toEqual({
    '"VERIFICATION_FAILED"}': 1,
    '"SCHEMA_VERSION_MISMATCH"}': 2,
    '"other"}': 1,
  });
  expect(samples.get(`${FLEET}repeatedly_failing_devices`)).toBe(2);
  expect(samples.get(`${FLEET}scrape_success`)).toBe(1);
  const oldest = samples.get(`${FLEET}oldest_verified_age_seconds`)!;
  expect(oldest).toBeGreaterThanOrEqual(14 * 3600);
  expect(oldest).toBeLessThan(15 * 3600);
});

test('a fleet without devices has none in each state, and no age', async () => {
  await using central = await start();
  const samples = await scrape(central.url);
  expect(samples.get(`${FLEET}devices{state="never"}`)).toBe(0);
  expect(samples.get(`${FLEET}verified_age_devices{le="+Inf"}`)).toBe(0);
  expect(samples.get(`${FLEET}oldest_verified_age_seconds`)).toBeNaN();
});

test('what a real device does is what the fleet says', async () => {
  await using central = await start();
  await central.acknowledge(successOf(await central.manifestFor(SHOP_1)));
  expect((await scrape(central.url)).get(`${FLEET}devices{state="fresh"}`)).toBe(1);
});

test('while the fleet cannot be read, a scrape works, says so, and tells nothing that it does not know', async () => {
  await using central = await start();
  await central.sql('ALTER VIEW waypost.device_status RENAME TO away');
  const samples = await scrape(central.url);
  expect(part(samples, FLEET)).toEqual({
    scrape_success: 0,
    held_devices: NaN,
    oldest_verified_age_seconds: NaN,
    repeatedly_failing_devices: NaN,
  });
  expect(samples.get('waypost_central_acks_total{result="Failed"}')).toBe(0);
});

test('a fleet that the database is slow to tell holds up no scrape for long, and does not work on', async () => {
  await using central = await start();
  await central.sql(`
    ALTER VIEW waypost.device_status RENAME TO quick;
    CREATE VIEW waypost.device_status AS SELECT quick.* FROM waypost.quick, pg_sleep(60)`);
  const samples = await scrape(central.url);
  expect(samples.get(`${FLEET}scrape_success`)).toBe(0);
  const [row] = await central.sql<{ sleeping: number }>(
    `SELECT count(*)::int AS sleeping FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()`,
  );
  expect(row!.sleeping).toBe(0);
});

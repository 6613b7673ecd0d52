import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { installCapture } from '../../apps/central-api/testing/capture.js';
import { Random } from '../../scripts/fleet/random.js';
import { withClient } from '../../scripts/with-client.js';
import { startTestServer, type TestServer } from '../support/postgres.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { Device } from './device.js';
import { randomFaultPoint } from './faults.js';
import { createHistory } from './history.js';
import { makeFleet, type RandomFleet } from './random-fleet.js';
import { Supervised } from './supervised.js';

/** Of the writers, the judge, central, and each device's service. */
const SETTINGS = { max_connections: 400, max_prepared_transactions: 20, shared_buffers: '256MB' };

const STARTED_AT_ONCE = 3;

/** Central and its devices as processes, on databases of one server, as a seed makes them. */
export interface FleetBench extends AsyncDisposable {
  fleet: RandomFleet;
  central: Supervised;
  devices: readonly Device[];
  /** Of central's database; the superuser's. */
  pool: pg.Pool;
  centralUrl: string;
  /** While it is false, services are started without fault points. */
  arm: { isOn: boolean };
}

export async function startFleet(seed: number, size: number): Promise<FleetBench> {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await startTestServer({ settings: SETTINGS }));
  const folder = stack.use(await temporaryFolder());
  const fleet = makeFleet(new Random(seed, 'fleet'), size);
  const arm = { isOn: false };
  const faultsOf = (side: 'central' | 'edge', name: string): (() => string) => {
    const random = new Random(seed, `faults of ${name}`);
    return () => (arm.isOn ? randomFaultPoint(random, side) : '');
  };

  const { ownerUrl, serviceUrl, url } = await server.createSide('central');
  await run(ownerUrl, `${fleet.create}; ANALYZE`);
  await run(url, `BEGIN; ${createHistory(fleet.tables)}; COMMIT`);
  const plan = join(folder.path, 'plan.yaml');
  await writeFile(plan, fleet.plan);
  const env = {
    DATABASE_URL: serviceUrl,
    SYNC_PLAN: plan,
    SNAPSHOT_STORE: `file:${join(folder.path, 'snapshots')}`,
    MAX_SHRINK: 'off',
    LOCK_TIMEOUT: '5s',
  };
  const central = stack.use(await Supervised.start({ name: 'central-api', env, nextFaults: faultsOf('central', 'central') }));
  await installCapture(url, fleet.plan);

  const devices: Device[] = [];
  const waiting = [...fleet.macs.entries()];
  const startSome = async (): Promise<void> => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [at, mac] = next;
      const options = { mac, centralUrl: central.url, folder: join(folder.path, `downloads-${at}`), nextFaults: faultsOf('edge', mac) };
      devices[at] = stack.use(await startDevice(server, options));
    }
  };
  arm.isOn = true;
  await Promise.all(Array.from({ length: STARTED_AT_ONCE }, startSome));
  const pool = new pg.Pool({ connectionString: url, max: 6, options: '-c TimeZone=UTC' });
  pool.on('error', () => undefined); // the server may end before the last connection does
  stack.defer(() => pool.end());
  const started = stack.move();
  return { fleet, central, devices, pool, centralUrl: url, arm, [Symbol.asyncDispose]: () => started.disposeAsync() };
}

type DeviceOptions = Omit<Parameters<typeof Device.start>[0], 'databaseUrl' | 'adminUrl'>;

async function startDevice(server: TestServer, options: DeviceOptions): Promise<Device> {
  const { serviceUrl, url } = await server.createSide('edge');
  await mkdir(options.folder);
  return Device.start({ ...options, databaseUrl: serviceUrl, adminUrl: url });
}

async function run(url: string, sql: string): Promise<void> {
  await withClient(url, (client) => client.query(sql));
}

import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { withClient } from '../../scripts/with-client.js';
import { post } from '../support/service.js';
import { temporaryFolder, type TemporaryFolder } from '../support/temporary-folder.js';
import { attempt, docker, inspect, ROOT } from './commands.js';
import { mirrorAt, shareAt } from './rows.js';
import { Stacks } from './stacks.js';

/**
 * npm run test:compose: the way of docs/deploy.md with docker-compose, on whatever Docker engine is at hand. A story: each test goes on where the one
 * before it stopped. However it ends, containers, volumes, networks and images of its own are removed.
 */

const HEALS_WITHIN_MS = 120_000;
const SERVICES = ['central-api', 'edge-service'] as const;

let folder: TemporaryFolder;
let stacks: Stacks;
let central: string;
let edge: string;

const onSignal = (): void => {
  stacks.downNow();
  process.exit(130);
};

beforeAll(async () => {
  folder = await temporaryFolder();
  stacks = await Stacks.prepare(`${folder.path}/env`);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, onSignal);
  console.log(`project ${stacks.project}; without ${stacks.left.join(', ') || 'nothing'}: ${stacks.left.length} images cannot be had here`);
  central = stacks.databaseUrl('central', 'postgres', 'CENTRAL_POSTGRES_PASSWORD');
  edge = stacks.databaseUrl('edge', 'postgres', 'EDGE_POSTGRES_PASSWORD');
});

afterAll(async () => {
  stacks?.downNow();
  await folder?.[Symbol.asyncDispose]();
});

/** A test that is not worth its minutes once one before it has failed. */
let failed: string | undefined;
function step(title: string, work: () => Promise<void>): void {
  test(title, async () => {
    if (failed !== undefined) throw new Error(`not tried, because this failed: ${failed}`);
    failed = title;
    await work();
    failed = undefined;
  });
}

const sql = (url: string, text: string): Promise<unknown[]> => withClient(url, async (client) => (await client.query<object>(text)).rows);
const inside = (id: string, script: string) => attempt('docker', ['exec', id, 'sh', '-c', script]);

interface Answer {
  status: string;
  code?: string;
  detail?: string;
  hint?: string;
}

async function syncNow(): Promise<Answer> {
  for (;;) {
    const { status, body } = await post<Answer>(`${stacks.url('edge-service')}/api/sync/now`);
    // Another cycle is running: its outcome would not be this one's.
    if (status !== 409) return body;
    await delay(200);
  }
}

/** One row more in each of two tables, one less in a third. */
const change = (mark: string) =>
  sql(
    central,
    `INSERT INTO areas (location_id, name, floor) VALUES (1, '${mark}', 1);
     UPDATE users SET full_name = full_name || ' ${mark}' WHERE id % 3 = 0;
     DELETE FROM group_members WHERE user_id = (SELECT max(user_id) FROM group_members WHERE group_id = 1)`,
  );

/** Makes a token at central and puts it into .env. */
async function invite(): Promise<void> {
  const command = `waypost device add --mac ${stacks.settings['DEVICE_MAC']} --json`;
  const { stdout } = await inside(await stacks.container('central-api'), command);
  stacks.set('ENROLLMENT_TOKEN', (JSON.parse(stdout) as { token: string }).token);
}

/** Central's keys of the device, by thumbprint. */
async function deviceKeys(): Promise<Record<string, string>> {
  const command = `waypost device show ${stacks.settings['DEVICE_MAC']} --json`;
  const { stdout } = await inside(await stacks.container('central-api'), command);
  const { keys } = JSON.parse(stdout) as { keys: { thumbprint: string; state: string }[] };
  return Object.fromEntries(keys.map(({ thumbprint, state }) => [thumbprint, state]));
}

async function expectEqualRows(): Promise<void> {
  const share = await shareAt(central);
  expect(share['users']?.length).toBeGreaterThan(100);
  expect(await mirrorAt(edge)).toEqual(share);
}

/** Asks for a sync until one is good. Its own schedule may have been there first: then nothing is left to do. */
async function syncAndCompare(): Promise<void> {
  await stacks.until('a sync succeeds', HEALS_WITHIN_MS, async () => ['Success', 'Unchanged'].includes((await syncNow()).status));
  await expectEqualRows();
}

const untilEqual = () =>
  stacks.until('the mirror equals its share', HEALS_WITHIN_MS, async () => {
    const [share, mirror] = await Promise.all([shareAt(central), mirrorAt(edge)]);
    return JSON.stringify(share) === JSON.stringify(mirror);
  });

step('compose refuses to start while the passwords are empty', async () => {
  const { status, stderr } = await stacks.attemptWith('.env.example', 'config', '-q');
  expect(status).not.toBe(0);
  expect(stderr).toMatch(/_PASSWORD is empty, see \.env\.example/);
});

step('built, filled with the example and started, the device enrolls, and all become healthy', async () => {
  await stacks.run('build', 'central-api', 'example-fleet', 'edge-service');
  expect(await stacks.run('run', '--rm', 'example-fleet')).toContain('filled in');
  await stacks.run('up', '-d', 'central-api');
  await stacks.untilHealthy('central-api');
  await invite();
  await stacks.run('up', '-d', ...stacks.services);
  for (const service of ['central-postgres', 'edge-postgres', ...SERVICES]) await stacks.untilHealthy(service);
  expect(Object.values(await deviceKeys())).toEqual(['active']);
});

step('capture is installed in one command: from then on central answers without reading what did not change', async () => {
  expect(await stacks.run('run', '--rm', 'install-capture')).toContain('is recorded');
  expect(await inside(await stacks.container('central-api'), 'waypost capture show --plan plans/fleet.yaml --json')).toMatchObject({
    status: 0,
  });
});

step('a sync that is asked for over HTTP makes both databases equal, row for row', async () => {
  await untilEqual();
  await change('by HTTP');
  await syncAndCompare();
  const acks = await sql(central, `SELECT result FROM waypost.sync_acknowledgements ORDER BY completed_at DESC LIMIT 1`);
  expect(acks).toEqual([{ result: 'Success' }]);
});

step('the device signed a receipt for each acknowledgement, and ledger and audit agree', async () => {
  const verified = await inside(await stacks.container('central-api'), 'waypost ledger verify --json');
  expect(verified).toMatchObject({ status: 0 });
  const acks = await sql(central, 'SELECT count(*)::int AS receipts FROM waypost.sync_acknowledgements');
  expect([JSON.parse(verified.stdout)]).toMatchObject(acks);
});

step('central’s numbers are for containers beside it: at a port of their own, which is not published', async () => {
  const edgeService = await stacks.container('edge-service');
  const get = (url: string) =>
    inside(
      edgeService,
      `NODE_EXTRA_CA_CERTS=/etc/waypost/trust/ca.crt node -e "fetch('${url}').then(async (r) => console.log(r.status, await r.text()))"`,
    );
  expect((await get('http://central-api:9464/metrics')).stdout).toMatch(/^200 [^]*^waypost_central_certificate_expires_timestamp_seconds/m);
  expect((await get('https://central-api:8080/metrics')).stdout).toMatch(/^404 /);
});

step('no image holds a password, a token or a private key, and no container sees the authority’s', async () => {
  const keys = ['docker/authority/ca.key', 'docker/tls/server.key'].map((file) => String(readFileSync(file, 'utf8').split('\n')[1]));
  const secrets = Object.entries(stacks.settings).filter(([name]) => /_PASSWORD$|_TOKEN$/.test(name));
  const patterns = [...keys, ...secrets.map(([, value]) => value)].flatMap((text) => ['-e', text]);
  const search = (image: string, given: string[]) => {
    const container = ['run', '--rm', '-u', '0', '--network', 'none', '--entrypoint', 'grep'];
    const places = ['/app', '/etc', '/home', '/opt', '/root', '/srv', '/usr/local', '/var'];
    return attempt('docker', [...container, stacks.image(image), '-rlF', ...given, ...places]);
  };
  for (const image of ['central-api', 'edge-service', 'example-fleet']) {
    expect(await search(image, patterns)).toMatchObject({ status: 1, stdout: '' });
    expect((await search(image, ['-e', '"name": "waypost"'])).stdout).toContain('/app/package.json');
  }
  for (const service of stacks.services) {
    const mounts = await inspect<{ Source: string }[]>(await stacks.container(service), '.Mounts');
    const authority = `${ROOT}/docker/authority/`;
    expect(mounts.map(({ Source }) => Source).filter((source) => authority.startsWith(`${source}/`))).toEqual([]);
  }
});

for (const service of SERVICES) {
  step(
    `${service} is confined: no root, no capabilities, nothing to write but /tmp and its volume, and one port of 127.0.0.1`,
    async () => {
      const id = await stacks.container(service);
      expect((await inside(id, 'id -u')).stdout.trim()).toBe('1000');
      const status = (await inside(id, 'cat /proc/1/status')).stdout;
      expect(status).toMatch(/^CapEff:\s+0+$/m);
      expect(status).toMatch(/^CapBnd:\s+0+$/m);
      expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
      for (const folder of ['/', '/app', '/app/dist', '/home/node', '/var/lib', '/usr/local/bin']) {
        expect((await inside(id, `touch ${folder}/written`)).stderr).toMatch(/Read-only file system/);
      }
      for (const folder of ['/tmp', '/var/lib/waypost']) {
        expect(await inside(id, `touch ${folder}/written && rm ${folder}/written`)).toMatchObject({ status: 0 });
      }
      const ports = Object.values(await inspect<Record<string, { HostIp: string }[] | null>>(id, '.NetworkSettings.Ports'));
      expect(ports.flatMap((bindings) => bindings ?? []).map(({ HostIp }) => HostIp)).toEqual(['127.0.0.1']);
    },
  );
}

step('the SBOM in an image lists the packages that are installed there, and no others', async () => {
  const id = await stacks.container('central-api');
  const sbom = JSON.parse((await inside(id, 'cat /app/sbom.cdx.json')).stdout) as { components: { 'bom-ref': string }[] };
  const installed = JSON.parse((await inside(id, 'cat /app/node_modules/.package-lock.json')).stdout) as {
    packages: Record<string, { name?: string; version: string }>;
  };
  const names = Object.entries(installed.packages).map(
    ([path, { name, version }]) => `${name ?? path.replace(/^.*node_modules\//, '')}@${version}`,
  );
  expect(sbom.components.map((component) => component['bom-ref']).sort()).toEqual([...new Set(names)].sort());
});

step('the operator’s command is in both images', async () => {
  const devices = await inside(await stacks.container('central-api'), 'waypost devices --json');
  expect(devices).toMatchObject({ status: 0, stdout: expect.stringContaining(String(stacks.settings['DEVICE_MAC'])) as string });
  expect(await inside(await stacks.container('edge-service'), 'waypost status --json')).toMatchObject({ status: 0 });
});

step('the databases run with a read-only root file system, too', async () => {
  for (const service of ['central-postgres', 'edge-postgres']) {
    const id = await stacks.container(service);
    expect((await inside(id, 'touch /usr/written')).stderr).toMatch(/Read-only file system/);
  }
});

step('each role can do its work and no more', async () => {
  const grafana = stacks.databaseUrl('central', 'grafana', 'GRAFANA_DATABASE_PASSWORD');
  const waypost = stacks.databaseUrl('central', 'waypost', 'CENTRAL_WAYPOST_PASSWORD');
  const reader = stacks.databaseUrl('edge', 'reader', 'EDGE_READER_PASSWORD');
  expect(await sql(grafana, 'SELECT count(*) > 0 AS some FROM waypost.sync_requests')).toEqual([{ some: true }]);
  await expect(sql(grafana, 'SELECT count(*) FROM public.users')).rejects.toThrow(/permission denied/);
  for (const table of ['token_keys', 'enrollment_tokens', 'api_keys', 'signing_keys', 'device_authorities', 'ledger_keys'])
    await expect(sql(grafana, `SELECT FROM waypost.${table}`)).rejects.toThrow(/permission denied/);
  const forceful = 'BEGIN READ WRITE; ';
  await expect(sql(grafana, `${forceful} DELETE FROM waypost.sync_requests`)).rejects.toThrow(/permission denied/);
  await expect(sql(waypost, 'DELETE FROM public.users')).rejects.toThrow(/permission denied/);
  await expect(sql(waypost, 'CREATE TABLE public.mine ()')).rejects.toThrow(/permission denied/);
  expect(await sql(reader, 'SELECT count(*) > 0 AS some FROM users')).toEqual([{ some: true }]);
  await expect(sql(reader, `${forceful} DELETE FROM users`)).rejects.toThrow(/permission denied/);
});

step('cut off the network, the device keeps its old rows readable; connected again, it heals by itself', async () => {
  const id = await stacks.container('edge-service');
  const before = await mirrorAt(edge);
  // A request on a connection that dies without a word waits for REQUEST_TIMEOUT; one that rests is closed after 10 s (1F90 is port 8080).
  const isConnected = async () => / \w+:1F90 01 /.test((await inside(id, 'cat /proc/net/tcp')).stdout);
  await stacks.until('the connection to central is closed', HEALS_WITHIN_MS, async () => !(await isConnected()));
  await docker('network', 'disconnect', stacks.outerNetwork, id);
  await change('while cut off');
  const ask = `fetch('http://127.0.0.1:8081/api/sync/now', { method: 'POST' }).then(async (r) => console.log(await r.text()))`;
  const answer = await inside(id, `node -e "${ask}"`);
  expect(JSON.parse(answer.stdout)).toMatchObject({ code: 'CENTRAL_UNREACHABLE' });
  expect(await mirrorAt(edge)).toEqual(before);
  await docker('network', 'connect', '--alias', 'edge-service', stacks.outerNetwork, id);
  await untilEqual();
});

for (const service of SERVICES) {
  step(`${service} is killed: its container comes back by itself, and the next changes arrive`, async () => {
    const id = await stacks.container(service);
    const count = () => inspect<number>(id, '.RestartCount');
    const before = await count();
    // `docker kill` would count as an operator's wish. Process 1 is the init; its child is the service.
    await inside(id, 'kill -9 $(cat /proc/1/task/1/children)');
    await stacks.until(`${service} was started again`, HEALS_WITHIN_MS, async () => (await count()) > before);
    await stacks.untilHealthy(service);
    await change(`after ${service} was killed`);
    await syncAndCompare();
  });
}

for (const side of ['central', 'edge']) {
  step(`the database of ${side} is killed and started: services stay up, and the next changes arrive`, async () => {
    const ids = await Promise.all(SERVICES.map((service) => stacks.container(service)));
    const started = () => Promise.all(ids.map((id) => inspect<string>(id, '.State.StartedAt')));
    const before = await started();
    const database = await stacks.container(`${side}-postgres`);
    await docker('kill', database);
    await docker('start', database);
    await stacks.untilHealthy(`${side}-postgres`);
    await change(`after the ${side} database was killed`);
    await syncAndCompare();
    expect(await started()).toEqual(before);
  });
}

step('docker-compose restart of everything keeps what was verified: nothing is downloaded again', async () => {
  await stacks.run('restart', ...stacks.services);
  for (const service of ['central-postgres', 'edge-postgres', ...SERVICES]) await stacks.untilHealthy(service);
  expect(await syncNow()).toMatchObject({ status: 'Unchanged' });
  await expectEqualRows();
});

step('a new container of the device keeps its identity; one that lost its volume says what to do, and a new token lets it in', async () => {
  const before = await deviceKeys();
  const recreate = async (remove: () => Promise<unknown>) => {
    await stacks.run('rm', '-fsv', 'edge-service');
    await remove();
    await stacks.run('up', '-d', 'edge-service');
    await stacks.untilHealthy('edge-service');
  };
  stacks.set('ENROLLMENT_TOKEN', '');
  await recreate(() => Promise.resolve());
  await change('for a new container');
  await syncAndCompare();
  expect(await deviceKeys()).toEqual(before);

  await recreate(() => docker('volume', 'rm', `${stacks.project}_edge-downloads`));
  expect(await syncNow()).toMatchObject({
    code: 'CENTRAL_REFUSED',
    detail: expect.stringContaining('AUTH_REQUIRED') as string,
    hint: expect.stringMatching(/waypost device add.*ENROLLMENT_TOKEN/) as string,
  });
  await invite();
  await stacks.run('up', '-d', 'edge-service');
  await stacks.untilHealthy('edge-service');
  await change('for a new identity');
  await syncAndCompare();
  const { active = [], retired } = Object.groupBy(Object.entries(await deviceKeys()), ([, state]) => state);
  expect(retired?.map(([thumbprint]) => thumbprint)).toEqual(Object.keys(before));
  expect(active).toHaveLength(1);
});

for (const service of [...SERVICES, 'edge-postgres', 'central-postgres']) {
  step(`${service} stops in time and in order`, async () => {
    const id = await stacks.container(service);
    await stacks.run('stop', service);
    // After stop_grace_period docker would have killed it: 137.
    const { ExitCode, OOMKilled } = await inspect<{ ExitCode: number; OOMKilled: boolean }>(id, '.State');
    expect({ ExitCode, OOMKilled }).toEqual({ ExitCode: 0, OOMKilled: false });
  });
}

step('without an init, as process 1, a service that waits for its database ends in order, too', async () => {
  const label = `com.docker.compose.project=${stacks.project}`;
  const settings = ['DATABASE_URL=postgres://x@127.0.0.1:1/x', 'CENTRAL_URL=http://127.0.0.1:1', 'DEVICE_MAC=48:b0:2d:e9:c3:b7'];
  const options = ['--read-only', '--network', 'none', '--label', label, ...settings.flatMap((setting) => ['-e', setting])];
  const id = await docker('run', '-d', ...options, stacks.image('edge-service'));
  try {
    await stacks.until('it waits', HEALS_WITHIN_MS, async () => (await docker('logs', id)).includes('database not ready'));
    await docker('stop', '-t', '30', id);
    expect(await inspect<number>(id, '.State.ExitCode')).toBe(0);
  } finally {
    await docker('rm', '-f', '-v', id);
  }
});

step('down -v leaves nothing', async () => {
  stacks.downNow();
  expect(await stacks.remains()).toBe('');
});

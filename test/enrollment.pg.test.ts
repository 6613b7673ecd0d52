import { chmod, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { secretDigest } from '@waypost/contracts';
import type { FaultPoint } from '@waypost/runtime';
import { OF_ENROLLMENT, OF_ROTATION } from './support/fault-bench.js';
import { Pair } from './support/pair.js';
import { startTestServer, type TestServer } from './support/postgres.js';
import { CREATE_STATIONS, SITE_ID, STATION_TABLES } from './support/stations.js';
import { temporaryFolder, type TemporaryFolder } from './support/temporary-folder.js';

/** Real processes: a device enrolls with central, whatever fails on the way, and no operator has to repair anything. */

const TOKEN = `wpe_${'t'.repeat(43)}`;

let server: TestServer;
let folder: TemporaryFolder;
let identity: string;
let pair: Pair;

beforeAll(async () => {
  server = await startTestServer();
  folder = await temporaryFolder();
  identity = join(folder.path, 'identity');
  pair = await Pair.start(server, {
    schema: CREATE_STATIONS,
    tables: STATION_TABLES,
    siteId: SITE_ID,
    centralEnv: { AUTH: 'device', TOKEN_TTL: '10s' },
    edgeEnv: { ENROLLMENT_TOKEN: TOKEN, IDENTITY_DIR: identity },
  });
});
afterAll(async () => {
  await pair?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

/** As a new board, with a new token. */
beforeEach(async () => {
  await rm(identity, { recursive: true, force: true });
  await pair.pools.central.query('DELETE FROM waypost.enrollment_tokens; DELETE FROM waypost.devices');
  await invite();
});

async function invite(): Promise<void> {
  await pair.pools.central.query(
    `INSERT INTO waypost.enrollment_tokens (digest, uses_left, needs_approval, created_by, expires_at) VALUES ($1, 1, false, 'test', now() + interval '1 h')`,
    [secretDigest(TOKEN)],
  );
}

async function keys(): Promise<object[]> {
  const { rows } = await pair.pools.central.query<object>(
    'SELECT retired_at IS NOT NULL AS retired, first_used_at IS NOT NULL AS used, cloned_at FROM waypost.device_keys ORDER BY enrolled_at',
  );
  return rows;
}

const IN_USE = { retired: false, used: true, cloned_at: null };

describe.each(['kill', 'throw'])('a service that fails (%s)', (action) => {
  test.each(OF_ENROLLMENT)('at %s enrolls with its next cycle, with one key', async (point: FaultPoint) => {
    const side = point.startsWith('central.') ? 'central' : 'edge';
    const other = side === 'central' ? 'edge' : 'central';
    await pair.startService(other);
    await pair.startService(side, `${point}:${action}`);
    expect((await pair.sync())?.status).not.toBe('Success');
    await pair.startService(side);
    expect(await pair.heal()).toMatchObject({ problems: [] });
    expect(await keys()).toEqual([IN_USE]);
  });
});

test.each(OF_ROTATION)('a service that is killed at %s replaces the key with a later access token', async (point: FaultPoint) => {
  await pair.startService('edge');
  expect(await pair.heal()).toMatchObject({ problems: [] });
  await pair.pools.central.query('UPDATE waypost.devices SET rotate_keys_before = now()');
  const side = point.startsWith('central.') ? 'central' : 'edge';
  if (side === 'central') await pair.startService('edge');
  await pair.startService(side, `${point}:kill`);
  await pair.sync();
  await pair.startService(side);
  await pair.startService('edge');
  expect(await pair.heal()).toMatchObject({ problems: [] });
  expect(await keys()).toEqual([{ ...IN_USE, retired: true }, IN_USE]);
});

test('what the device stores is for its user alone', async () => {
  await pair.startService('edge');
  expect(await pair.heal()).toMatchObject({ problems: [] });
  for (const name of await readdir(identity)) expect((await stat(join(identity, name))).mode & 0o777).toBe(0o600);
  expect((await readdir(identity)).sort()).toEqual(['identity.json', 'renewal.json', 'trust.json']);
  expect((await stat(identity)).mode & 0o777).toBe(0o700);
});

test.each<[string, string, () => Promise<void>]>([
  ['may be read by others', 'chmod 600', () => chmod(join(identity, 'identity.json'), 0o644)],
  ['are damaged', 'waypost device add', () => writeFile(join(identity, 'identity.json'), '{"privateKey":')],
  [
    'hold no key',
    'waypost device add',
    () =>
      writeFile(
        join(identity, 'identity.json'),
        JSON.stringify({ privateKey: 'x', token: 'x', deviceId: '01JZ0000000000000000000000', fleet: '01JZ0000000000000000000000' }),
      ),
  ],
])('files that %s are an error that says what to do', async (_, hint, damage) => {
  await pair.startService('edge');
  await pair.sync();
  await damage();
  await pair.startService('edge');
  expect(await pair.sync()).toMatchObject({ code: 'IDENTITY_UNREADABLE', hint: expect.stringContaining(hint) as string });
});

test('a folder that cannot be written is an error, and heals when it can', async () => {
  await writeFile(identity, 'no folder');
  await pair.startService('edge');
  expect(await pair.sync()).toMatchObject({ code: 'IDENTITY_UNREADABLE', detail: expect.stringContaining(identity) as string });
  await rm(identity);
  expect(await pair.heal()).toMatchObject({ problems: [] });
  expect(await keys()).toEqual([IN_USE]);
});

test('a device whose key is lost enrolls again with a new token, and its old key is retired', async () => {
  await pair.startService('edge');
  await pair.heal();
  await rm(identity, { recursive: true });
  await pair.startService('edge');
  expect(await pair.sync()).toMatchObject({ code: 'CENTRAL_REFUSED', detail: expect.stringContaining('ENROLLMENT_REFUSED') as string });
  await pair.pools.central.query('UPDATE waypost.enrollment_tokens SET uses_left = 1, device_id = (SELECT id FROM waypost.devices)');
  expect(await pair.heal()).toMatchObject({ problems: [] });
  expect(await keys()).toEqual([{ ...IN_USE, retired: true }, IN_USE]);
});

test('a device whose token has ended, and one that central has forgotten the key of, get a new one by themselves', async () => {
  await pair.startService('edge');
  await pair.heal();
  await pair.pools.central.query('DELETE FROM waypost.token_keys');
  await pair.startService('central');
  expect(await pair.heal()).toMatchObject({ problems: [] });
});

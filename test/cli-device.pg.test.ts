import { MAC, SyncPair } from './support/sync-pair.js';
import { waypost, waypostJson } from './support/waypost.js';

/** An operator enrolls a device, replaces its key, and takes it out of service, with the commands alone. */
let pair: SyncPair;
let atCentral: Record<string, string>;

beforeAll(async () => {
  pair = await SyncPair.start({ centralEnv: { AUTH: 'device' } });
  atCentral = { DATABASE_URL: (pair.centralEnv as { DATABASE_URL: string }).DATABASE_URL };
});
afterAll(() => pair?.[Symbol.asyncDispose]());

interface Added {
  token: string;
  uses: number;
  needsApproval: boolean;
}

const add = async (...args: string[]): Promise<Added> => (await waypostJson<Added>(['device', 'add', ...args], atCentral)).json;
const stateOf = async (device: string): Promise<string> => {
  const { json } = await waypostJson<{ device: { state: string } }>(['device', 'show', device], atCentral);
  return json.device.state;
};

test('a device is added, enrolls, waits where it has to, is revoked, and comes back', async () => {
  expect(await pair.sync()).toMatchObject({ code: 'CENTRAL_REFUSED', hint: expect.stringContaining('waypost device add') as string });

  const { token } = await add('--mac', MAC.toUpperCase(), '--name', 'shop-1');
  expect(await stateOf('shop-1')).toBe('invited');
  await pair.restartEdge({ ENROLLMENT_TOKEN: token });
  expect(await pair.sync()).toMatchObject({ status: 'Success' });
  expect(await stateOf(MAC)).toBe('active');
  const list = await waypost(['device', 'list'], atCentral);
  expect(list.out).toMatch(new RegExp(`shop-1 +${MAC} +active`));
  expect(list.out + JSON.stringify(await waypostJson(['device', 'show', MAC], atCentral))).not.toContain(token);

  expect((await waypost(['device', 'revoke', 'shop-1'], atCentral)).code).toBe(0);
  expect((await waypost(['device', 'revoke', 'shop-1'], atCentral)).code).toBe(1);
  expect(await pair.sync()).toMatchObject({ code: 'CENTRAL_REFUSED' });

  const again = await add('--mac', MAC, '--require-approval');
  expect(again.needsApproval).toBe(true);
  await pair.restartEdge({ ENROLLMENT_TOKEN: again.token });
  const waiting = await pair.sync();
  expect(waiting).not.toMatchObject({ status: 'Unchanged' });
  expect(await stateOf('shop-1')).toBe('pending');
  expect((await waypost(['device', 'approve', 'shop-1'], atCentral)).code).toBe(0);
  expect((await waypost(['device', 'approve', 'shop-1'], atCentral)).code).toBe(1);
  expect(await pair.sync()).toMatchObject({ status: 'Unchanged' });
  const { json } = await waypostJson<{ keys: { state: string }[] }>(['device', 'show', 'shop-1'], atCentral);
  expect(json.keys.map(({ state }) => state)).toEqual(['active', 'retired']);
});

test('a token that names no MAC needs an approval, also where nobody asked for it', async () => {
  expect(await add('--name', 'new-board')).toMatchObject({ needsApproval: true, uses: 1 });
  expect(await add('--reusable', '3', '--for', '7d')).toMatchObject({ needsApproval: false, uses: 3 });
});

test.each([
  ['neither a device nor a number', ['add']],
  ['both', ['add', '--mac', MAC, '--reusable', '3']],
  ['a name that is a MAC', ['add', '--name', MAC]],
  ['no devices', ['add', '--reusable', '0']],
  ['a malformed MAC', ['add', '--mac', '48:b0']],
  ['a duration that is none', ['add', '--mac', MAC, '--for', 'long']],
])('waypost device with %s is wrong usage', async (_, args) => {
  const { code, err } = await waypost(['device', ...args], atCentral);
  expect({ code, err: err.split('\n').length > 1 }).toEqual({ code: 2, err: true });
});

test('a program gets a key, whose secret is shown once, and is refused when the key was revoked', async () => {
  const { json: added } = await waypostJson<{ id: string; key: string; rights: string[]; expiresAt: string }>(
    ['key', 'add', '--name', 'console', '--allow', 'metrics, STATUS', '--for', '90d'],
    atCentral,
  );
  expect(added).toMatchObject({ rights: ['status', 'metrics'], key: expect.stringMatching(/^wpk_/) as string });
  expect(Math.round((Date.parse(added.expiresAt) - Date.now()) / 86_400_000)).toBe(90);
  const ask = () => fetch(`${pair.central.url}/api/status`, { headers: { 'x-api-key': added.key } });
  const answer = await ask();
  expect(answer.status).toBe(200);
  expect(await answer.json()).toHaveProperty('findings');
  const list = await waypost(['key', 'list'], atCentral);
  expect(list.out).toMatch(/console +status, metrics +active/);
  const shown = await waypostJson(['key', 'show', added.id], atCentral);
  expect(list.out + JSON.stringify(shown)).not.toContain(added.key.slice(-43));
  expect((await waypost(['key', 'add', '--name', 'console', '--allow', 'status'], atCentral)).code).toBe(2);
  expect((await waypost(['key', 'revoke', 'console'], atCentral)).code).toBe(0);
  expect((await waypost(['key', 'revoke', 'console'], atCentral)).code).toBe(1);
  expect((await ask()).status).toBe(401);
});

test.each([
  ['no name', ['--allow', 'status']],
  ['a name with a blank', ['--name', 'a b', '--allow', 'status']],
  ['no rights', ['--name', 'x']],
  ['an unknown right', ['--name', 'x', '--allow', 'status,root']],
  ['a life of a century', ['--name', 'x', '--allow', 'status', '--for', '36500d']],
])('waypost key add with %s is wrong usage', async (_, args) => {
  expect((await waypost(['key', 'add', ...args], atCentral)).code).toBe(2);
});

test('a device that nobody added is a finding', async () => {
  expect(await waypost(['device', 'show', '02:ff:ff:ff:ff:ff'], atCentral)).toMatchObject({
    code: 1,
    err: expect.stringContaining('DEVICE_UNKNOWN') as string,
  });
});

import { Service } from './support/service.js';
import type { Exchange } from './support/gateway.js';
import { join } from 'node:path';
import { OTHER_MAC, query, SyncPair } from './support/sync-pair.js';
import { until } from './support/until.js';

/** Which manifests a device takes: docs/sync-protocol.md, section 8, with real services, restarts included. */

let pair: SyncPair;

beforeAll(async () => {
  pair = await SyncPair.start();
  expect(await pair.sync()).toMatchObject({ status: 'Success' });
});

afterEach(() => pair.gateway.heal());

afterAll(async () => {
  await pair?.[Symbol.asyncDispose]();
});

async function expectEqual(url?: string): Promise<void> {
  expect(await pair.contents()).toBe(await pair.share(url));
}

/** Answers to requests for a manifest become the one that was given before. */
function replay(recorded: Exchange): void {
  pair.gateway.after = (exchange) => (exchange.path.endsWith('/request') ? { ...recorded, path: exchange.path } : exchange);
}

async function record(): Promise<Exchange> {
  let recorded: Exchange | undefined;
  pair.gateway.after = (exchange) => {
    if (exchange.path.endsWith('/request')) recorded = exchange;
    return exchange;
  };
  await pair.change();
  expect(await pair.sync()).toMatchObject({ status: 'Success' });
  pair.gateway.heal();
  return recorded as Exchange;
}

test('an older manifest that is replayed is refused, after a restart of the device too, and the next cycle heals', async () => {
  const older = await record();
  await pair.change();
  expect(await pair.sync()).toMatchObject({ status: 'Success' });
  const held = await pair.contents();
  for (const restart of [false, true]) {
    if (restart) await pair.restartEdge();
    replay(older);
    expect(await pair.sync()).toMatchObject({ httpStatus: 409, code: 'MANIFEST_OUT_OF_ORDER' });
    expect(await pair.contents()).toBe(held);
    pair.gateway.heal();
    expect(await pair.sync()).toMatchObject({ status: 'Unchanged' });
  }
  await pair.change();
  expect(await pair.sync()).toMatchObject({ status: 'Success' });
  await expectEqual();
});

test('the manifest that the device holds, replayed, changes nothing and is not acknowledged again', async () => {
  const same = await record();
  replay(same);
  expect(await pair.sync()).toMatchObject({ status: 'Unchanged', ack: 'none' });
  pair.gateway.heal();
  const [row] = await pair.atCentral<{ n: number }>(
    "SELECT max(n)::int AS n FROM (SELECT count(*) AS n FROM waypost.sync_acknowledgements WHERE result = 'Success' GROUP BY manifest_id) AS acks",
  );
  expect(row).toEqual({ n: 1 });
});

test('central restored from a backup: devices that are ahead start a new epoch and adopt what was restored', async () => {
  const before = await pair.status();
  await pair.centralServer.stop();
  await pair.centralServer.backup();
  await pair.centralServer.start();
  const restored = await pair.share();
  for (let change = 0; change < 2; change += 1) {
    await pair.change();
    await until(async () => (await pair.sync()).status === 'Success');
  }
  await pair.centralServer.stop();
  await pair.centralServer.restore();
  await pair.centralServer.start();
  await pair.restartEdge();
  await until(async () => (await pair.sync()).httpStatus === 200);
  expect(await pair.contents()).toBe(restored);
  const after = await pair.status();
  expect(after.lastSuccess?.epoch).not.toBe(before.lastSuccess?.epoch);
  await expectEqual();
});

test('central restored from a backup, then overtaken by other devices: a device that is ahead of its own manifests gets a new one', async () => {
  const before = await pair.status();
  await pair.centralServer.stop();
  await pair.centralServer.backup();
  await pair.centralServer.start();
  await pair.change();
  await until(async () => (await pair.sync()).status === 'Success');
  const { lastSuccess: ahead } = await pair.status();
  await pair.centralServer.stop();
  await pair.centralServer.restore();
  await pair.centralServer.start();
  // Others get numbers first, beyond the one that our device holds.
  for (let given = 0; given <= Number(ahead?.sequence);) {
    await pair.atCentral("UPDATE articles SET name = name || '?' WHERE shop = 2");
    const answer = await fetch(`${pair.central.url}/api/device-sync/request`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ mac: OTHER_MAC }),
    });
    if (answer.status === 200) given = ((await answer.json()) as { manifest: { sequence: number } }).manifest.sequence;
  }
  await until(async () => (await pair.sync()).httpStatus === 200);
  await expectEqual();
  const { lastSuccess } = await pair.status();
  expect(lastSuccess?.epoch).toBe(before.lastSuccess?.epoch);
  expect(lastSuccess?.sequence).toBeGreaterThan(Number(ahead?.sequence));
});

test('a copy of central takes over: adopted as a new epoch; the one it replaced is refused, until it starts a new epoch itself', async () => {
  await until(async () => (await pair.sync()).httpStatus === 200);
  const first = pair.gateway.target;
  const copyUrl = pair.centralServer.url('copy');
  await pair.central.end('SIGTERM');
  await query(pair.centralServer.url('template1'), 'CREATE DATABASE copy TEMPLATE postgres');
  await pair.restartCentral();
  await using copy = await Service.start('central-api', {
    ...pair.centralEnv,
    DATABASE_URL: copyUrl,
    SNAPSHOT_STORE: `file:${join(pair.folder.path, 'snapshots-of-copy')}`,
  });
  expect(first).not.toBe(copy.url);
  const original = pair.gateway.target;
  const { lastSuccess: before } = await pair.status();

  pair.gateway.target = copy.url;
  await pair.change(copyUrl);
  await until(async () => (await pair.sync()).status === 'Success');
  await expectEqual(copyUrl);
  const { lastSuccess: adopted } = await pair.status();
  expect(adopted?.epoch).not.toBe(before?.epoch);

  // Both answer at one address now, in turns.
  const held = await pair.contents();
  for (const restart of [false, true]) {
    if (restart) await pair.restartEdge();
    pair.gateway.target = original;
    await pair.change();
    const refused = await pair.sync();
    expect(refused).toMatchObject({ code: 'MANIFEST_OUT_OF_ORDER', hint: expect.stringContaining('Two centrals') as unknown });
    expect(await pair.contents()).toBe(held);
    pair.gateway.target = copy.url;
    expect(await pair.sync()).toMatchObject({ status: 'Unchanged' });
  }

  // As the hint says: the original is the right one after all.
  pair.gateway.target = original;
  await pair.atCentral('DELETE FROM waypost.central_state');
  expect(await pair.sync()).toMatchObject({ status: 'Success' });
  await expectEqual();
});

import { readdir } from 'node:fs/promises';
import { SmallDisk } from './support/small-disk.js';
import { query, SyncPair } from './support/sync-pair.js';
import { until } from './support/until.js';

/** A device whose disk is full keeps what it has and goes on when there is space again. */

const probe = await SmallDisk.mount(1);
await probe?.[Symbol.asyncDispose]();
if (!probe) console.warn('skipped: a small disk can only be mounted by root with CAP_SYS_ADMIN');
const whereMountable = probe ? test : test.skip;

/** Too much for the disk as it is filled, nothing for one that is not. */
const GROW = `
  INSERT INTO articles SELECT id, 1, (SELECT string_agg(md5(id * 100 + part || ''), '') FROM generate_series(1, 16) AS part)
  FROM generate_series(100001, 120000) AS id`;

async function start(options: Parameters<typeof SyncPair.start>[0]): Promise<SyncPair> {
  const pair = await SyncPair.start(options);
  expect(await pair.sync()).toMatchObject({ status: 'Success' });
  return pair;
}

async function expectHealed(pair: SyncPair, pid: number): Promise<void> {
  expect(await pair.contents()).toBe(await pair.share());
  expect(pair.edge.pid).toBe(pid);
  expect(await pair.status()).toMatchObject({ alert: null });
  const [acks] = await pair.atCentral<{ most: number }>(
    `SELECT max(n)::int AS most FROM
       (SELECT count(*) AS n FROM waypost.sync_acknowledgements WHERE result = 'Success' GROUP BY manifest_id) AS successes`,
  );
  expect(acks).toEqual({ most: 1 });
}

whereMountable('DOWNLOAD_DIR on a full disk: the cycle fails and names the folder; with space it goes on', async () => {
  await using disk = (await SmallDisk.mount(16)) as SmallDisk;
  await using pair = await start({ edgeEnv: { DOWNLOAD_DIR: disk.path } });
  const { pid } = pair.edge;
  const old = await pair.contents();
  await pair.atCentral(GROW);
  await disk.fill(300_000);
  for (let cycle = 0; cycle < 2; cycle += 1) {
    const refused = await pair.sync();
    expect(refused).toMatchObject({ httpStatus: 500, code: 'STORAGE_FAILED', hint: expect.stringContaining('free space') as unknown });
    expect(refused.detail).toContain(disk.path);
    expect(await pair.contents()).toBe(old);
  }
  expect((await pair.status()).alert).toMatchObject({ code: 'STORAGE_FAILED' });
  await disk.free();
  expect(await pair.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  await expectHealed(pair, pid);
});

whereMountable('a first sync with DOWNLOAD_DIR on a full disk takes no space until the next cycle', async () => {
  await using disk = (await SmallDisk.mount(16)) as SmallDisk;
  await using pair = await SyncPair.start({ edgeEnv: { DOWNLOAD_DIR: disk.path } });
  const { pid } = pair.edge;
  await pair.atCentral(GROW);
  await disk.fill(1_500_000);
  for (let cycle = 0; cycle < 2; cycle += 1) {
    expect(await pair.sync()).toMatchObject({ httpStatus: 500, code: 'STORAGE_FAILED' });
    expect((await readdir(disk.path, { recursive: true })).filter((name) => name.includes('live.part'))).toEqual([]);
  }
  await disk.free();
  expect(await pair.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
  await expectHealed(pair, pid);
});

whereMountable.each(['auto', 'truncate'])(
  'a database on a full disk, LOAD_STRATEGY=%s: rolled back and named; with space it goes on',
  async (strategy) => {
    await using disk = (await SmallDisk.mount(64)) as SmallDisk;
    await using pair = await start({
      edgeEnv: { LOAD_STRATEGY: strategy },
      edgeDatabase: async (server) => {
        await query(server.url(), `CREATE TABLESPACE small LOCATION '${disk.path}'`);
        await query(server.url(), 'CREATE DATABASE edge TABLESPACE small');
        return 'edge';
      },
    });
    const { pid } = pair.edge;
    const old = await pair.contents();
    await pair.atCentral(GROW);
    await disk.fill(1_500_000);
    for (let cycle = 0; cycle < 2; cycle += 1) {
      const refused = await pair.sync();
      expect(refused).toMatchObject({ httpStatus: 503, code: 'DATABASE_FULL', hint: expect.stringContaining('Free space') as unknown });
      expect(await pair.contents()).toBe(old);
    }
    expect((await pair.status()).alert).toMatchObject({ code: 'DATABASE_FULL' });
    await disk.free();
    expect(await pair.sync()).toMatchObject({ status: 'Success', ack: 'sent' });
    await expectHealed(pair, pid);
    const log = await pair.atEdge('SELECT status, error_code FROM waypost.edge_sync_log ORDER BY started_at');
    expect(log.slice(1)).toEqual([
      { status: 'Failed', error_code: 'DATABASE_FULL' },
      { status: 'Failed', error_code: 'DATABASE_FULL' },
      { status: 'Success', error_code: null },
    ]);
  },
);

whereMountable('a server that crashes because its log finds no space: the service waits for it, and goes on', async () => {
  await using disk = (await SmallDisk.mount(160)) as SmallDisk;
  await using pair = await start({ edgeFolder: disk.path, edgeSettings: { max_wal_size: '32MB', min_wal_size: '32MB' } });
  const { pid } = pair.edge;
  const old = await pair.contents();
  await pair.atCentral(GROW);
  await disk.fill(2_000_000);
  const refused = await pair.sync();
  expect(refused).toMatchObject({ httpStatus: 503, code: expect.stringMatching(/^DATABASE_(FULL|UNAVAILABLE)$/) as unknown });
  await disk.free();
  await pair.edgeServer.restart();
  expect(await pair.contents()).toBe(old);
  await until(async () => (await pair.sync()).httpStatus === 200);
  await expectHealed(pair, pid);
});

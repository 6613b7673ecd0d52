import type { Manifest } from '@waypost/contracts';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { readSample } from '../../../../test/support/samples.js';
import { installCapture } from '../../testing/capture.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import { CHECKED_PLAN, type CheckedPlan } from '../plan/check-plan.js';
import { ChangeTracker } from '../capture/change-tracker.js';
import { compareManifest, SCOPE } from './compare-manifest.js';
import { ShadowReads } from './shadow-reads.js';
import { CLEAR_FINDING, DROP_READS, FORGET_SEEN } from '../capture/findings.sql.js';

const MAC = '02:00:00:00:00:01';
const OTHER = '02:00:00:00:00:02';
const SCHEMA = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY, shop int);
  INSERT INTO devices VALUES ('${MAC}', 1), ('${OTHER}', 1);
  CREATE TABLE users (id int PRIMARY KEY, shop int, name text);
  INSERT INTO users SELECT id, 1, 'name ' || id FROM generate_series(1, 500) id;
  CREATE TABLE prices (id int PRIMARY KEY, price numeric);
  INSERT INTO prices VALUES (1, 1)`;
const PLAN = `
version: 1
schemaVersion: 1
changes: triggers
scope: { query: "SELECT shop FROM devices WHERE mac = :mac" }
tables:
  - { name: users, where: "shop = :shop" }
  - { name: prices }
`;

let server: TestServer;
let central: OwnCentral;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server?.[Symbol.asyncDispose]());

afterEach(() => central?.[Symbol.asyncDispose]());

async function start(every: string): Promise<void> {
  central = await startOwnCentral({ server, schema: SCHEMA, plan: PLAN, env: { SHADOW_READS: every } });
  await installCapture(central.databaseUrl, PLAN);
}

const findings = () => central.sql<{ table_name: string }>('SELECT table_name FROM waypost.shadow_findings WHERE cleared_at IS NULL');

/** Changes rows as a change would that no trigger records. */
async function changeUncaptured(sql: string): Promise<void> {
  await central.sql(`${sql}; DELETE FROM waypost.changes`);
}

const shadowReads = (result: string) => readSample(central.url, `waypost_central_shadow_reads_total{result="${result}"}`);

/** For manifests. */
const tablesRead = () => readSample(central.url, 'waypost_central_table_snapshots_total{source="built"}');

async function pollUntil(held: Manifest, isDone: () => Promise<boolean>): Promise<void> {
  while (!(await isDone())) {
    await central.poll(held);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test('a change that was not captured is found; then tables are read for every device, until an operator trusts capture again', async () => {
  await start('1');
  const [held, other] = [await central.manifestFor(MAC), await central.manifestFor(OTHER)];
  expect((await central.poll(held)).manifestId).toBe(held.manifestId);
  expect(await tablesRead()).toBe(2);

  await changeUncaptured("UPDATE users SET name = 'lost' WHERE id = 7");
  await pollUntil(held, async () => (await findings()).length > 0);
  expect(await findings()).toEqual([{ table_name: 'users' }]);
  expect(await shadowReads('different')).toBe(1);

  const read = await central.poll(held);
  expect(read.tables[0]?.sha256).not.toBe(held.tables[0]?.sha256);
  expect(read.tables[1]?.sha256).toBe(held.tables[1]?.sha256);
  const before = await tablesRead();
  await central.poll(read);
  expect(await tablesRead()).toBe(before + 2);

  await changeUncaptured("UPDATE users SET name = 'lost again' WHERE id = 8");
  for (const statement of [DROP_READS, FORGET_SEEN]) await central.sql(statement);
  await central.sql(CLEAR_FINDING, ['users']);
  const right = await central.poll(read);
  expect(right.tables[0]?.sha256).not.toBe(read.tables[0]?.sha256);
  // The other device did not ask meanwhile: what it holds is of before the lost changes.
  expect((await central.poll(other)).tables[0]?.sha256).toBe(right.tables[0]?.sha256);
  const after = await tablesRead();
  expect((await central.poll(right)).manifestId).toBe(right.manifestId);
  expect(await tablesRead()).toBe(after);
});

test('a device that was moved by a change that was not captured is found', async () => {
  await start('1');
  const held = await central.manifestFor(MAC);
  await changeUncaptured(`UPDATE devices SET shop = 2 WHERE mac = '${MAC}'`);
  await pollUntil(held, async () => (await findings()).length > 0);
  expect(await findings()).toEqual([{ table_name: '(scope)' }]);
  expect((await central.poll(held)).tables[0]?.rowCount).toBe(0);
});

test('each table is compared once a day, whatever SHADOW_READS says about polls', async () => {
  await start('1000000');
  const shadows = central.app.get(ShadowReads);
  await central.manifestFor(MAC);
  await shadows.readDue();
  expect(await central.sql('SELECT table_name FROM waypost.shadow_reads ORDER BY 1')).toEqual([
    { table_name: 'prices' },
    { table_name: 'users' },
  ]);
  await shadows.readDue();
  expect(await shadowReads('equal')).toBe(2);
  await changeUncaptured('UPDATE prices SET price = 2');
  await central.sql("UPDATE waypost.shadow_reads SET last_read_at = last_read_at - interval '25 hours'");
  await shadows.readDue();
  expect(await findings()).toEqual([{ table_name: 'prices' }]);
});

test('writers that commit before, while and after tables are compared raise no false alarm', async () => {
  await start('off');
  const about = { plan: central.app.get<CheckedPlan>(CHECKED_PLAN), tracker: central.app.get(ChangeTracker) };
  const [reader, writer] = [0, 1].map(() => new pg.Client({ connectionString: central.databaseUrl })) as [pg.Client, pg.Client];
  await Promise.all([reader.connect(), writer.connect()]);
  let held = await central.manifestFor(MAC);
  let equal = 0;
  for (let round = 0; round < 25; round += 1) {
    const [id, ends] = [1 + Math.floor(Math.random() * 500), Math.random() < 0.5 ? 'COMMIT' : 'ROLLBACK'];
    await writer.query(`BEGIN; UPDATE users SET name = name || '.' WHERE id = ${id}; UPDATE prices SET price = price + 1`);
    held = await central.poll(held);
    const comparing = compareManifest(reader, about, { mac: MAC, manifestId: held.manifestId });
    const ending = new Promise((resolve) => setTimeout(resolve, 10 * Math.random())).then(() => writer.query(ends));
    const [comparison] = await Promise.all([comparing, ending]);
    expect(comparison?.found).toBe(comparison?.expected);
    expect(comparison?.table).not.toBe(SCOPE);
    if (comparison) equal += 1;
  }
  await Promise.all([reader.end(), writer.end()]);
  expect(equal).toBeGreaterThan(0);
});

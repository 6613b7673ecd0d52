import { type ErrorCode, type Manifest, sealManifest } from '@waypost/contracts';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { type Edge, queryAt } from '../../testing/edge.js';
import type { FakeCentral } from '../../testing/fake-central.js';
import { type FakePair, startFakePair } from '../../testing/fake-pair.js';

const CREATE = 'CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users SELECT g, g::text FROM generate_series(1, 10) g';

let server: TestServer;
let source: string;
let central: FakeCentral;
let edge: Edge;
let pair: FakePair;

beforeAll(async () => {
  server = await startTestServer();
  pair = await startFakePair({ server, source: CREATE, tables: ['users'] });
  ({ source, central, edge } = pair);
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
});
afterEach(() => central.heal());
afterAll(async () => {
  await pair?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

const names = () => edge.query<{ name: string }>('SELECT name FROM users ORDER BY id');
const resealed = (change: Partial<Manifest>) => (manifest: Manifest) => sealManifest({ ...manifest, ...change });
const past = (hours: number): string => new Date(Date.now() - hours * 3_600_000).toISOString();

const FAULTS: Record<string, [ErrorCode, (manifest: Manifest) => unknown]> = {
  'a field that was altered': ['MANIFEST_INVALID', (manifest) => ({ ...manifest, sequence: manifest.sequence + 1 })],
  'a field that was added': ['MANIFEST_INVALID', (manifest) => ({ ...manifest, extra: 1 })],
  'no manifest at all': ['MANIFEST_INVALID', () => undefined],
  "another device's manifest": ['MANIFEST_NOT_YOURS', resealed({ device: { mac: '02:00:00:00:00:01', id: null } })],
  'another schema version': ['SCHEMA_VERSION_MISMATCH', resealed({ schemaVersion: 2 })],
  'an expired manifest': ['MANIFEST_EXPIRED', resealed({ generatedAt: past(2), expiresAt: past(1) })],
  'a manifest that expires before it was made': ['MANIFEST_INVALID', resealed({ generatedAt: past(1), expiresAt: past(2) })],
  'an older sequence': [
    'MANIFEST_OUT_OF_ORDER',
    (manifest) => sealManifest({ ...manifest, sequence: 1, manifestId: '01ARZ3NDEKTSV4RRFFQ69G5FAV' }),
  ],
  'the same sequence under another id': [
    'MANIFEST_OUT_OF_ORDER',
    (manifest) => sealManifest({ ...manifest, sequence: manifest.sequence - 1, manifestId: '01ARZ3NDEKTSV4RRFFQ69G5FAV' }),
  ],
  "one of Waypost's own tables": [
    'MANIFEST_INVALID',
    (manifest) => sealManifest({ ...manifest, tables: manifest.tables.map((table) => ({ ...table, name: 'waypost.edge_acks' })) }),
  ],
  'one table by two spellings': [
    'MANIFEST_INVALID',
    (manifest) => sealManifest({ ...manifest, tables: manifest.tables.flatMap((table) => [table, { ...table, name: 'public.users' }]) }),
  ],
  'a type that is more than a type': [
    'SCHEMA_MISMATCH',
    (manifest) =>
      sealManifest({
        ...manifest,
        tables: manifest.tables.map((table) => ({
          ...table,
          name: 'fresh',
          columns: [...table.columns.slice(0, 1), { name: 'name', type: 'text); DROP TABLE users; --', notNull: false }],
        })),
      }),
  ],
};

test.each(Object.keys(FAULTS))('%s is refused, the data stays, and the next cycle heals', async (name) => {
  const [code, fault] = FAULTS[name]!;
  await queryAt(source, "UPDATE users SET name = name || '.'");
  const manifest = await central.publish();
  const before = await names();
  central.manifestFault = fault;
  const refused = await edge.sync();
  expect(refused).toMatchObject({ code });
  expect(refused.hint).toMatch(/^[A-Z].{10,}/);
  expect(await names()).toEqual(before);
  const status = await edge.status();
  expect(status).toMatchObject({ consecutiveFailures: 1, lastAttempt: { status: 'Failed', error: { code } } });
  if (code !== 'MANIFEST_EXPIRED') expect(status.alert).toMatchObject({ code });

  central.heal();
  expect(await edge.sync()).toMatchObject({ status: 'Success', manifestId: manifest.manifestId });
  expect(await names()).toEqual(await queryAt(source, 'SELECT name FROM users ORDER BY id'));
  expect(await edge.status()).toMatchObject({ consecutiveFailures: 0, alert: null });
});

test('a refused schema version raises an alert in the metrics, and a success clears it', async () => {
  await central.change("UPDATE users SET name = name || '.'");
  central.manifestFault = resealed({ schemaVersion: 9 });
  await edge.sync();
  const metrics = async () => (await fetch(`${edge.url}/metrics`)).text();
  expect(await metrics()).toMatch(/waypost_edge_alerts\{code="SCHEMA_VERSION_MISMATCH",.*\} 1/);
  central.heal();
  await edge.sync();
  expect(await metrics()).not.toMatch(/waypost_edge_alerts\{code=/);
});

test('a manifest that expires during the download is replaced within the same cycle', async () => {
  await central.change("UPDATE users SET name = name || '.'");
  central.refusals.set('/chunks', 'MANIFEST_EXPIRED');
  let asked = 0;
  central.onRequest = async (path) => {
    if (!path.endsWith('/request') || (asked += 1) < 2) return;
    central.refusals.clear();
    await central.publish();
  };
  expect(await edge.sync()).toMatchObject({ httpStatus: 200, status: 'Success' });
  expect(await names()).toEqual(await queryAt(source, 'SELECT name FROM users ORDER BY id'));
});

test('a new epoch is adopted with its lower sequence, and the old epoch is refused from then on', async () => {
  await central.change("UPDATE users SET name = name || '.'");
  central.manifestFault = (manifest) => sealManifest({ ...manifest, epoch: 'epoch-2', sequence: 1 });
  expect(await edge.sync()).toMatchObject({ status: 'Success' });
  expect(await edge.status()).toMatchObject({ lastSuccess: { epoch: 'epoch-2', sequence: 1 } });
  central.heal();
  expect(await edge.sync()).toMatchObject({ code: 'MANIFEST_OUT_OF_ORDER' });
});

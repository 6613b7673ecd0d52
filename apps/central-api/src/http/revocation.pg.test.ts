import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { chunkStreamPath, type Manifest } from '@waypost/contracts';
import { queryOn, withClient } from '@waypost/runtime';
import { testPool } from '../../../../test/support/test-pool.js';
import { startTestServer } from '../../../../test/support/postgres.js';
import { DeviceClient } from '../../testing/device-client.js';
import { startOwnCentral } from '../../testing/own-central.js';
import { invite, revoke } from '../read-models/identities.js';

const MACS = ['02:00:00:00:00:01', '02:00:00:00:00:02'] as const;

/** More than sockets hold, and nothing that compresses. */
const SCHEMA = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY);
  INSERT INTO devices VALUES ('${MACS[0]}'), ('${MACS[1]}');
  CREATE TABLE items (id int PRIMARY KEY, v bytea NOT NULL);
  INSERT INTO items SELECT g, (SELECT string_agg(sha256((g * 1000 + n)::text::bytea), '') FROM generate_series(1, 300) n) FROM generate_series(1, 1500) g`;
const PLAN = `
version: 1
schemaVersion: 1
scope:
  query: SELECT 1 AS one FROM devices WHERE mac = :mac
tables:
  - name: items
`;

test('what a device is being sent ends when it is revoked, and no other device’s', async () => {
  await using server = await startTestServer();
  await using central = await startOwnCentral({ server, schema: SCHEMA, plan: PLAN, env: { AUTH: 'device' } });
  const pool = testPool(central.databaseUrl);
  await using stack = new AsyncDisposableStack();
  stack.defer(() => pool.end());
  const asOperator = <T>(work: (query: ReturnType<typeof queryOn>) => Promise<T>): Promise<T> =>
    withClient(pool, (client) => work(queryOn(client)));

  /** The beginning of a download whose rest nobody reads. */
  async function download(mac: string): Promise<{ deviceId: string; answer: IncomingMessage }> {
    const device = new DeviceClient(central, mac);
    const { token } = await asOperator((query) =>
      invite(query, { mac, name: undefined, uses: 1, lifeMs: 60_000, needsApproval: false, by: 'test' }),
    );
    await device.enroll(token);
    const headers = await device.authorization();
    const { body } = await central.post<{ manifest: Manifest }>('/api/device-sync/request', { mac }, headers);
    const asked = request(central.url + chunkStreamPath(body.manifest.manifestId, 'items'), { headers })
      .on('error', () => undefined)
      .end();
    stack.defer(() => void asked.destroy());
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    answer.on('error', () => undefined);
    expect(answer.statusCode).toBe(200);
    return { deviceId: device.enrolled!.deviceId, answer };
  }

  const [revoked, other] = [await download(MACS[0]), await download(MACS[1])];
  await asOperator((query) => revoke(query, revoked.deviceId));
  // A slow reader: all of it would take a quarter of a minute.
  const reading = setInterval(() => void revoked.answer.read(64 << 10), 50);
  stack.defer(() => clearInterval(reading));
  await new Promise((resolve) => revoked.answer.once('close', resolve));
  expect(revoked.answer.complete).toBe(false);
  let bytes = 0;
  for await (const part of other.answer as AsyncIterable<Buffer>) bytes += part.length;
  expect(bytes).toBe(Number(other.answer.headers['content-length']));
});

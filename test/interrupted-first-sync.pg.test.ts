import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startTestServer } from './support/postgres.js';
import { post, Service } from './support/service.js';
import { query } from './support/sync-pair.js';
import { temporaryFolder } from './support/temporary-folder.js';

/** Real processes: what central sends live and what it stores are the same bytes, so that a device goes on where it was killed. */

const MAC = '02:00:00:00:00:01';
const PLAN = `
version: 1
schemaVersion: 1
scope:
  query: SELECT id AS device_id FROM devices WHERE mac = :mac
tables:
  - name: notes
  - name: items
`;
const SCHEMA = `
  CREATE TABLE devices (id int PRIMARY KEY, mac macaddr UNIQUE);
  INSERT INTO devices VALUES (1, '${MAC}');
  CREATE TABLE notes (id int PRIMARY KEY, body text NOT NULL);
  INSERT INTO notes SELECT g, md5(g::text) FROM generate_series(1, 20000) AS g;
  CREATE TABLE items (id int PRIMARY KEY, body text NOT NULL);
  INSERT INTO items SELECT g, md5(g::text) || md5('x' || g) FROM generate_series(1, 200000) AS g;`;
const CONTENT = `
  SELECT (SELECT md5(string_agg(n::text, ',' ORDER BY id)) FROM notes n) AS notes, (SELECT md5(string_agg(i::text, ',' ORDER BY id)) FROM items i) AS items`;

interface SyncAnswer {
  status: string;
  downloadedBytes: number;
  tables: { name: string; downloadedBytes: number }[];
}

test('an edge that is killed while its first rows come downloads only the rest of them', async () => {
  await using server = await startTestServer();
  await using folder = await temporaryFolder();
  const [atCentral, atEdge] = [await server.createSide('central'), await server.createSide('edge')];
  await query(atCentral.ownerUrl, SCHEMA);
  const plan = join(folder.path, 'plan.yaml');
  await writeFile(plan, PLAN);
  await using central = await Service.start('central-api', {
    DATABASE_URL: atCentral.serviceUrl,
    SYNC_PLAN: plan,
    SNAPSHOT_STORE: `file:${join(folder.path, 'snapshots')}`,
  });
  const env = {
    DATABASE_URL: atEdge.serviceUrl,
    CENTRAL_URL: central.url,
    DEVICE_MAC: MAC,
    SYNC_INTERVAL: '0',
    DOWNLOAD_DIR: join(folder.path, 'downloads'),
  };
  // In the middle of `items`.
  await using killed = await Service.start('edge-service', { ...env, WAYPOST_FAULTS: 'edge.mid-copy:kill@400' });
  await expect(post(`${killed.url}/api/sync/now`)).rejects.toThrow();
  await killed.gone;

  await using edge = await Service.start('edge-service', env);
  const { body } = await post<SyncAnswer>(`${edge.url}/api/sync/now`);
  expect(body.status).toBe('Success');
  expect(await query(atEdge.url, CONTENT)).toEqual(await query(atCentral.url, CONTENT));
  const { body: asked } = await post<{ manifest: { tables: { name: string; streamBytes: number }[] } }>(
    `${central.url}/api/device-sync/request`,
    { mac: MAC },
  );
  const whole = asked.manifest.tables.map(({ streamBytes }) => streamBytes);
  const [notes, items] = body.tables.map(({ downloadedBytes }) => downloadedBytes);
  expect(notes).toBe(0);
  // 322 of its 782 chunks were loaded at least.
  expect(items).toBeLessThan((whole[1] as number) * 0.7);
});

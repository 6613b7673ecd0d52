import { createHash } from 'node:crypto';
import type pg from 'pg';
import { startTestServer, type TestServer } from '../../test/support/postgres.js';
import { withClient } from '../with-client.js';
import { INACTIVE_MAC, JETSON_MAC } from './equipment.js';
import { fillFleet, type FillOptions } from './fill-fleet.js';
import { FLEET_TABLES } from './schema.js';

const SMALL: FillOptions = { companies: 2, locations: 4, users: 500, devices: 10, areas: 12 };

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server[Symbol.asyncDispose]());

async function withDatabase<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
  await using database = await server.createDatabase();
  return await withClient(database.url, work);
}

/** SHA-256 over all rows of each table, as PostgreSQL prints them. */
async function contents(client: pg.Client): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {};
  for (const table of FLEET_TABLES) {
    const { rows } = await client.query<{ line: string }>(`SELECT t::text AS line FROM ${table} t ORDER BY t::text COLLATE "C"`);
    hashes[table] = createHash('sha256')
      .update(rows.map(({ line }) => line).join('\n'))
      .digest('hex');
  }
  return hashes;
}

const filled = (options: FillOptions) =>
  withDatabase(async (client) => {
    await fillFleet(client, options);
    return contents(client);
  });

test('the same size and seed give the same rows, another seed gives others', async () => {
  const first = await filled(SMALL);
  expect(await filled(SMALL)).toEqual(first);
  const other = await filled({ ...SMALL, seed: 2 });
  expect(FLEET_TABLES.filter((table) => other[table] === first[table])).toEqual(['location_groups']);
});

test('more users leave devices and areas as they were', async () => {
  const few = await filled(SMALL);
  const many = await filled({ ...SMALL, users: 700 });
  expect(many['users']).not.toBe(few['users']);
  expect([many['devices'], many['areas'], many['locations']]).toEqual([few['devices'], few['areas'], few['locations']]);
});

test.each([SMALL, { companies: 1, locations: 1, users: 0, devices: 2, areas: 0 }])(
  'the Jetson and the inactive device are always there: %o',
  async (size) => {
    await withDatabase(async (client) => {
      await fillFleet(client, size);
      const { rows } = await client.query(
        `SELECT d.model, d.active, l.name AS location, c.name AS company
         FROM devices d JOIN locations l ON l.id = d.location_id JOIN companies c ON c.id = l.company_id
         WHERE d.mac IN ($1, $2) ORDER BY d.id`,
        [JETSON_MAC, INACTIVE_MAC],
      );
      const place = { location: 'San Francisco Office', company: 'TechCorp Industries' };
      expect(rows).toEqual([
        { model: 'Jetson Xavier NX', active: true, ...place },
        { model: 'Jetson Nano', active: false, ...place },
      ]);
    });
  },
);

test('a user is only ever in groups of their own company', async () => {
  await withDatabase(async (client) => {
    await fillFleet(client, SMALL);
    const { rows } = await client.query(
      `SELECT count(*)::int AS members, (count(*) FILTER (WHERE u.company_id <> g.company_id))::int AS strangers
       FROM group_members gm JOIN users u ON u.id = gm.user_id JOIN groups g ON g.id = gm.group_id`,
    );
    expect(rows[0]).toEqual({ members: expect.any(Number), strangers: 0 });
  });
});

test('new rows of an operator get ids that are free', async () => {
  await withDatabase(async (client) => {
    await fillFleet(client, SMALL);
    const { rows } = await client.query(
      `INSERT INTO users (company_id, email, full_name) VALUES (1, 'new@example.test', 'New') RETURNING id::int`,
    );
    expect(rows).toEqual([{ id: 501 }]);
  });
});

test('a database that has one of the tables is not touched, unless they are to be replaced', async () => {
  await withDatabase(async (client) => {
    await client.query(`CREATE TABLE users AS SELECT 'mine' AS owner`);
    await expect(fillFleet(client, SMALL)).rejects.toThrow(/already has users/);
    expect((await client.query('TABLE users')).rows).toEqual([{ owner: 'mine' }]);
    await fillFleet(client, { ...SMALL, replace: true });
    expect((await client.query('SELECT count(*)::int AS n FROM users')).rows).toEqual([{ n: 500 }]);
  });
});

test('a fill that is interrupted leaves nothing', async () => {
  await withDatabase(async (client) => {
    await client.query(`CREATE TYPE user_role AS ENUM ('in the way')`);
    await expect(fillFleet(client, SMALL)).rejects.toThrow(/user_role/);
    expect((await client.query(`SELECT to_regclass('companies') AS companies`)).rows).toEqual([{ companies: null }]);
  });
});

test('an impossible size is refused by name', async () => {
  await withDatabase((client) => expect(fillFleet(client, { devices: 1 })).rejects.toThrow(/^devices must be a whole number from 2/));
});

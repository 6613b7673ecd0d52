import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { startEmbeddedPostgres } from '../../scripts/embedded-postgres.js';
import type { FleetSize } from '../../scripts/fleet/fleet-size.js';
import { withClient } from '../../scripts/with-client.js';
import { createImageRoles, type RoleUrls, type Side } from './image-roles.js';
import { temporaryFolder } from './temporary-folder.js';

/** Small enough to sync in a moment, large enough for several chunks per table. */
export const TEST_FLEET: Partial<FleetSize> = { companies: 3, locations: 6, users: 3_000, devices: 20, areas: 40 };

export interface TestDatabase extends AsyncDisposable {
  name: string;
  url: string;
}

/** Its `url` is the superuser's, for tests that look into everything. */
export type SideDatabase = TestDatabase & RoleUrls;

export interface TestServer extends AsyncDisposable {
  /**
   * A fresh, empty database. Disposing of it drops it; the server's end drops all of them.
   * @param options more of CREATE DATABASE, for instance a locale
   */
  createDatabase(name?: string, options?: string): Promise<TestDatabase>;
  /** As `createDatabase`, with the roles and rights that the image of that side creates: what a real service runs on. */
  createSide(side: Side, options?: string): Promise<SideDatabase>;
}

interface TestServerOptions {
  /** Server settings; only where the test starts the server itself. */
  settings?: Readonly<Record<string, string | number>>;
  /** An embedded server of another version: the npm package that brings it. */
  npmPackage?: string;
}

/** Crash safety costs time, and a test's server outlives nothing. */
const FAST = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', shared_buffers: '64MB', max_connections: 60 };
const CONTAINER_IMAGE = 'postgres:17-bookworm';
const CONTAINER_START_MS = 60_000;

/**
 * The server for one test file: `await using server = await startTestServer()`, or start it in beforeAll and dispose of it in afterAll.
 * TEST_POSTGRES chooses it: `embedded` (default), `testcontainers`, or the URL of a server whose role may create databases.
 */
export async function startTestServer({ settings = {}, npmPackage }: TestServerOptions = {}): Promise<TestServer> {
  if (npmPackage !== undefined) return embeddedServer(settings, npmPackage);
  const wanted = process.env['TEST_POSTGRES'] || 'embedded';
  if (wanted === 'embedded') return embeddedServer(settings);
  if (wanted === 'testcontainers') return containerServer(settings);
  return testServerAt(wanted);
}

async function embeddedServer(settings: Readonly<Record<string, string | number>>, npmPackage?: string): Promise<TestServer> {
  const folder = await temporaryFolder();
  try {
    const server = await startEmbeddedPostgres({
      folder: join(folder.path, 'postgres'),
      settings: { ...FAST, ...settings },
      ...(npmPackage !== undefined && { npmPackage }),
    });
    return testServerAt(server.url, async () => {
      await server.stop();
      await folder[Symbol.asyncDispose]();
    });
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
}

async function containerServer(settings: Readonly<Record<string, string | number>>): Promise<TestServer> {
  const { GenericContainer } = await import('testcontainers');
  const password = randomBytes(12).toString('hex');
  const container = await new GenericContainer(CONTAINER_IMAGE)
    .withEnvironment({ POSTGRES_PASSWORD: password })
    .withCommand(['postgres', ...Object.entries({ ...FAST, ...settings }).flatMap(([name, value]) => ['-c', `${name}=${value}`])])
    .withExposedPorts(5432)
    .start();
  const url = `postgres://postgres:${password}@${container.getHost()}:${container.getMappedPort(5432)}/postgres`;
  await untilAnswering(url);
  return testServerAt(url, async () => {
    await container.stop();
  });
}

/** The image opens its port, and starts a first server for its own setup, before the real one answers. */
async function untilAnswering(url: string): Promise<void> {
  for (const deadline = Date.now() + CONTAINER_START_MS; ;) {
    try {
      return await admin(url, 'SELECT 1');
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await sleep(100);
    }
  }
}

/** @param end what else ends with the server; without it only the databases made here are dropped */
export function testServerAt(adminUrl: string, end?: () => Promise<void>): TestServer {
  const made = new Set<string>();
  // Unique, because TEST_POSTGRES=<url> is shared by all test files.
  const unique = (name: string): string => `${name}_${randomBytes(5).toString('hex')}`;

  const drop = async (name: string): Promise<void> => {
    if (made.delete(name)) await admin(adminUrl, `DROP DATABASE IF EXISTS ${pg.escapeIdentifier(name)} WITH (FORCE)`);
  };
  const create = async (name: string, options = ''): Promise<TestDatabase> => {
    await admin(adminUrl, `CREATE DATABASE ${pg.escapeIdentifier(name)} TEMPLATE template0 ${options}`);
    made.add(name);
    return { name, url: urlOf(adminUrl, name), [Symbol.asyncDispose]: () => drop(name) };
  };

  return {
    createDatabase: (name = 'test', options) => create(unique(name), options),
    createSide: async (side, options) => {
      const database = await create(unique(side), options);
      return { ...database, ...(await createImageRoles(side, database.url)) };
    },
    [Symbol.asyncDispose]: async () => {
      if (end) return end();
      for (const name of made) await drop(name);
    },
  };
}

async function admin(url: string, sql: string): Promise<void> {
  await withClient(url, (client) => client.query(sql));
}

function urlOf(adminUrl: string, database: string): string {
  const url = new URL(adminUrl);
  url.pathname = `/${encodeURIComponent(database)}`;
  return url.href;
}

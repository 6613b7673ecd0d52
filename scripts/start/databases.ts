import { join } from 'node:path';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../embedded-postgres.js';
import { existingFleetTables, fillFleet } from '../fleet/fill-fleet.js';
import { withClient } from '../with-client.js';

export interface Database {
  url: string;
  server: EmbeddedPostgres;
}

/** Where these ports are free, the printed URLs are the same at each start. */
const PREFERRED_PORTS = { central: 54_320, edge: 54_321 };

/** Starts the embedded server of one side, and creates its database on first use. Data stays from run to run. */
export async function startDatabase(side: 'central' | 'edge', home: string): Promise<Database> {
  const server = await startEmbeddedPostgres({
    folder: join(home, `${side}-db`),
    port: { preferred: PREFERRED_PORTS[side] },
    // Fewer checkpoints while the fleet is filled and loaded.
    settings: { max_wal_size: '2GB', log_checkpoints: 'off' },
  });
  try {
    await withClient(server.url, async (client) => {
      const { rowCount } = await client.query('SELECT FROM pg_database WHERE datname = $1', [side]);
      if (rowCount === 0) await client.query(`CREATE DATABASE ${side}`);
    });
  } catch (error) {
    await server.stop();
    throw error;
  }
  return { url: new URL(`/${side}`, server.url).href, server };
}

/** Fills the example fleet unless it is there. @param onFill called before it fills, which takes some seconds */
export async function ensureFleet(url: string, onFill: () => void): Promise<void> {
  await withClient(url, async (client) => {
    if ((await existingFleetTables(client)).length > 0) return;
    onFill();
    await fillFleet(client);
  });
}

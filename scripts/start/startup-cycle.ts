import { withClient } from '../with-client.js';
import type { FirstSync } from './first-sync.js';

const LAST_SUCCESS = `
  SELECT id, duration_ms::int AS "durationMs" FROM waypost.edge_sync_log
  WHERE status = 'Success' AND started_at >= $1 ORDER BY started_at DESC LIMIT 1`;
const LOADED = `
  SELECT table_name AS name, downloaded_bytes::int AS "downloadedBytes" FROM waypost.edge_sync_tables
  WHERE edge_sync_id = $1 AND action = 'loaded'`;

/**
 * The edge runs a cycle when it starts. Where that one came first, ours had nothing left to load: then this reads from the edge's audit what
 * the startup cycle loaded. Any other result is returned as it is.
 * @param since when the edge was started
 */
export async function includeStartupCycle(sync: FirstSync, edgeDatabaseUrl: string, since: Date): Promise<FirstSync> {
  if (sync.status !== 'Unchanged') return sync;
  return withClient(edgeDatabaseUrl, async (client) => {
    const cycle = (await client.query<{ id: string; durationMs: number }>(LAST_SUCCESS, [since])).rows[0];
    if (!cycle) return sync;
    const { rows } = await client.query<{ name: string; downloadedBytes: number }>(LOADED, [cycle.id]);
    const loaded = new Map(rows.map(({ name, downloadedBytes }) => [name, downloadedBytes]));
    const tables = sync.tables.map((table) => {
      const downloadedBytes = loaded.get(table.name);
      return downloadedBytes === undefined ? table : { ...table, action: 'loaded' as const, downloadedBytes };
    });
    return { status: 'Success', durationMs: cycle.durationMs, tables };
  });
}

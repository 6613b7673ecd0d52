import { setTimeout as sleep } from 'node:timers/promises';
import { StartError } from './settings.js';

export interface SyncedTable {
  name: string;
  rowCount: number;
  sha256: string;
  action: 'loaded' | 'unchanged';
  downloadedBytes: number;
  verified: boolean;
}

/** The result of the first sync. */
export type FirstSync =
  | { status: 'Success' | 'Unchanged'; durationMs: number; tables: SyncedTable[] }
  | { status: 'Failed'; code: string; detail: string; hint: string };

/** What POST /api/sync/now answers: a result, or a problem (RFC 9457). */
interface Answer {
  status: 'Success' | 'Unchanged' | number;
  durationMs: number;
  tables: SyncedTable[];
  code?: string;
  detail?: string;
  hint?: string;
}

const HEALTH_MS = 60_000;
const POLL_MS = 25;
/** A cycle that loads a first sync takes seconds. */
const RUNNING_POLL_MS = 250;

/** @throws StartError when the service does not call itself healthy within a minute */
export async function untilHealthy(url: string, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + HEALTH_MS;
  let answer = 'no answer';
  while (Date.now() < deadline) {
    try {
      const response = await fetch(`${url}/health`, { signal });
      answer = `${response.status} ${await response.text()}`;
      if (response.ok) return;
    } catch (error) {
      signal.throwIfAborted();
      answer = String((error as Error).cause ?? error);
    }
    await sleep(POLL_MS, undefined, { signal });
  }
  throw new StartError(`${url}/health does not become healthy: ${answer}`);
}

async function untilIdle(edgeUrl: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    const response = await fetch(`${edgeUrl}/api/sync/status`, { signal });
    if (((await response.json()) as { running?: boolean }).running !== true) return;
    await sleep(RUNNING_POLL_MS, undefined, { signal });
  }
}

/**
 * Runs one sync cycle and returns its result. While the edge runs a cycle itself, waits for its end.
 * @throws StartError when the edge's answer is not understood
 */
export async function syncNow(edgeUrl: string, signal: AbortSignal): Promise<FirstSync> {
  for (;;) {
    await untilIdle(edgeUrl, signal);
    const response = await fetch(`${edgeUrl}/api/sync/now`, { method: 'POST', signal });
    const answer = (await response.json().catch(() => ({}))) as Partial<Answer>;
    const { status, durationMs = 0, tables, code, detail = '', hint = '' } = answer;
    // The edge has started a cycle itself, or another process syncs its database.
    if (code === 'SYNC_RUNNING') {
      await sleep(RUNNING_POLL_MS, undefined, { signal });
    } else if (response.ok && (status === 'Success' || status === 'Unchanged') && tables) {
      return { status, durationMs, tables };
    } else if (code !== undefined) {
      return { status: 'Failed', code, detail, hint };
    } else {
      throw new StartError(`${edgeUrl}/api/sync/now answered ${response.status}: ${JSON.stringify(answer)}`);
    }
  }
}

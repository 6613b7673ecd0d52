import { setTimeout as sleep } from 'node:timers/promises';
import { StartError } from './settings.js';

/** What POST /api/sync/now answers. */
export interface SyncResult {
  status: 'Success' | 'Unchanged' | 'Failed';
  manifestId: string | null;
  durationMs: number;
  tables: { name: string; rowCount: number; sha256: string; action: 'loaded' | 'unchanged'; downloadedBytes: number; verified: boolean }[];
  error?: { code: string; detail?: string; hint: string };
}

const HEALTH_MS = 60_000;
const POLL_MS = 100;

/** @throws StartError when the service does not call itself healthy within a minute */
export async function untilHealthy(url: string, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + HEALTH_MS;
  let answer = 'no answer';
  while (Date.now() < deadline) {
    try {
      const response = await fetch(`${url}/health`, { signal });
      if (response.ok) return void (await response.arrayBuffer());
      answer = `${response.status} ${await response.text()}`;
    } catch (error) {
      signal.throwIfAborted();
      answer = String((error as Error).cause ?? error);
    }
    await sleep(POLL_MS, undefined, { signal });
  }
  throw new StartError(`${url}/health does not become healthy: ${answer}`);
}

/**
 * Runs one sync cycle and gives its result. While another one runs (the edge begins with one by itself), waits for its turn.
 * @throws StartError when the edge answers with anything but a result
 */
export async function syncNow(edgeUrl: string, signal: AbortSignal): Promise<SyncResult> {
  for (;;) {
    const response = await fetch(`${edgeUrl}/api/sync/now`, { method: 'POST', signal });
    if (response.status === 409) {
      await response.arrayBuffer();
      await sleep(POLL_MS, undefined, { signal });
      continue;
    }
    const body = (await response.json().catch(() => undefined)) as SyncResult | undefined;
    if (!Array.isArray(body?.tables)) throw new StartError(`${edgeUrl}/api/sync/now answered ${response.status}: ${JSON.stringify(body)}`);
    return body;
  }
}

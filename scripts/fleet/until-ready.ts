import { setTimeout as delay } from 'node:timers/promises';
import { withClient } from '../with-client.js';

const RETRY_MS = 500;
/** No server listens, the name is not known yet, the server is starting. */
const NOT_YET = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', '57P03'];

/**
 * Waits for a database that is being started.
 * @throws the last connection's error when it does not answer within `timeoutMs`, or any that waiting cannot help, at once
 */
export async function untilReady(url: string, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    try {
      return await withClient(url, async () => undefined);
    } catch (error) {
      const { code } = error as { code?: string };
      if (!NOT_YET.includes(String(code)) || performance.now() >= deadline) throw error;
    }
    await delay(RETRY_MS);
  }
}

import { setTimeout as delay } from 'node:timers/promises';

/** Waits so long, or until the signal fires. Keeps no process alive. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal, ref: false }).catch(() => undefined);
}

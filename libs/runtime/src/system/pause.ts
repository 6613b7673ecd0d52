import { setTimeout as delay } from 'node:timers/promises';

/** The longest wait of a timer: one that is longer, setTimeout takes for 1 ms. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** Waits so long, or until the signal fires. Keeps no process alive. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal, ref: false }).catch(() => undefined);
}

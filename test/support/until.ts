import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 10;

/** Asks again and again until it is so; the test's own timeout ends a wait in vain. */
export async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await condition())) await sleep(POLL_MS);
}

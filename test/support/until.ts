import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 10;

/** Polls until the condition holds. The deadline is the test's own timeout. */
export async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await condition())) await sleep(POLL_MS);
}

import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'undici';

export interface PollLoad {
  /** Answers per second. */
  rate: number;
  p50Ms: number;
  p99Ms: number;
  polls: number;
}

interface LoadOptions {
  url: string;
  /** More than the content type. */
  headers?: Record<string, string>;
  /** Bodies of requests, taken in turns. */
  bodies: readonly string[];
  /** Values of the header Authorization, one for each body. */
  authorizations?: readonly string[];
  seconds: number;
  connections: number;
  /** Polls per second, each at its time whether or not others were answered; as many as go by default. */
  rate?: number;
}

/**
 * Polls over connections that stay open.
 * @throws Error when an answer is not 200
 */
export async function pollLoad({ url, headers, bodies, authorizations, seconds, connections, rate }: LoadOptions): Promise<PollLoad> {
  const pool = new Pool(url, { connections, pipelining: 1 });
  const took: number[] = [];
  let next = 0;
  const poll = async (dueAt: number): Promise<void> => {
    const at = next++ % bodies.length;
    const body = bodies[at] as string;
    const authorization = authorizations?.[at];
    const answer = await pool.request({
      method: 'POST',
      path: '/api/device-sync/request',
      headers: { 'content-type': 'application/json', ...headers, ...(authorization === undefined ? {} : { authorization }) },
      body,
    });
    const text = await answer.body.text();
    if (answer.statusCode !== 200) throw new Error(`A poll was answered ${answer.statusCode}: ${text}`);
    took.push(performance.now() - dueAt);
  };
  const startedAt = performance.now();
  const endsAt = startedAt + seconds * 1000;
  try {
    if (rate === undefined) {
      const client = async (): Promise<void> => {
        while (performance.now() < endsAt) await poll(performance.now());
      };
      await Promise.all(Array.from({ length: connections }, client));
    } else {
      const sent: Promise<void>[] = [];
      for (let at = 0; at < rate * seconds; at += 1) {
        const dueAt = startedAt + (at * 1000) / rate;
        const waitMs = dueAt - performance.now();
        if (waitMs > 1) await sleep(waitMs);
        sent.push(poll(dueAt));
      }
      await Promise.all(sent);
    }
    const elapsed = (performance.now() - startedAt) / 1000;
    took.sort((a, b) => a - b);
    const at = (share: number): number => took[Math.min(took.length - 1, Math.floor(share * took.length))] ?? NaN;
    return { rate: took.length / elapsed, p50Ms: at(0.5), p99Ms: at(0.99), polls: took.length };
  } finally {
    await pool.destroy();
  }
}

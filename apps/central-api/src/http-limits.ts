import type { HttpLimits } from '@waypost/runtime';
import type { Config } from './config.js';

/** Acks hold a count and a hash per table; this is enough for some thousand tables. */
const MAX_BODY_BYTES = 512 << 10;
const REQUEST_TIMEOUT_MS = 30_000;

export function httpLimits({ STALL_TIMEOUT, MAX_CONNECTIONS }: Config): HttpLimits {
  return {
    maxBodyBytes: MAX_BODY_BYTES,
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
    stallTimeoutMs: STALL_TIMEOUT,
    maxConnections: MAX_CONNECTIONS,
  };
}

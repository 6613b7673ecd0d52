import type { CentralTrust } from './connect-to-central.js';

export interface CentralOptions {
  /** Address of central; its path, if any, stands before the routes. */
  url: string;
  /** Of an https:// address. */
  trust: CentralTrust;
  deviceMac: string;
  /** For central to build a manifest and for the manifest to arrive. */
  requestTimeoutMs: number;
  /** A transfer without progress for this long is aborted; also the deadline of an ack. */
  stallTimeoutMs: number;
  circuit: CircuitLimits;
}

export interface CircuitLimits {
  /** Tries of one request within a cycle after the first. */
  retries: number;
  firstDelayMs: number;
  maxDelayMs: number;
  /** Requests in a row that failed, each with all its tries, before the breaker opens. */
  failuresToOpen: number;
  /** How long it stays open before one request may try again. */
  openMs: number;
}

export const DEFAULT_CIRCUIT_LIMITS: CircuitLimits = {
  retries: 3,
  firstDelayMs: 200,
  maxDelayMs: 5000,
  failuresToOpen: 4,
  openMs: 10_000,
};

/** Injection token of CentralOptions. */
export const CENTRAL_OPTIONS = Symbol('central options');

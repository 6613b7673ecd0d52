import type { Manifest, WaypostError } from '@waypost/contracts';
import type { Logger } from 'pino';
import type { TableOutcome } from '../audit/sync-log.js';
import type { Vouched } from '../trust/manifest-trust.js';

export type CycleTrigger = 'schedule' | 'request' | 'scrub';

export interface CycleOptions {
  trigger: CycleTrigger;
  /** Hash all mirrored tables again instead of trusting the hashes of the last load: finds and repairs local drift. */
  verify: boolean;
}

/** A cycle in progress. */
export interface Cycle extends CycleOptions {
  cycleId: string;
  startedAt: Date;
  /** Since its start, whatever happens to the device's clock meanwhile. */
  elapsedMs: () => number;
  log: Logger;
  /** Fires at once when the service stops: no more requests, no new load. */
  stop: AbortSignal;
  /** Fires a little later: a load that is still running is aborted. */
  forceStop: AbortSignal;
  progress: CycleProgress;
  /** Who signed the manifest that it applies; undefined before that is known, and on a device that has not enrolled. */
  vouched?: Vouched | undefined;
}

/** What a cycle knows of itself so far; a failed one is reported with it. */
export interface CycleProgress {
  manifestId?: string;
  epoch?: string;
  sequence?: number;
  downloadedBytes: number;
  ack: 'sent' | 'queued' | 'none';
}

/** A finished cycle, good or failed. */
export interface CycleReport {
  cycleId: string;
  status: 'Success' | 'Unchanged' | 'Failed';
  startedAt: Date;
  durationMs: number;
  progress: CycleProgress;
  tables: TableOutcome[];
  rowsLoaded: number;
  rawBytes: number;
  /** Retained rows, where the cycle counted them. */
  keptRows?: number;
  error?: WaypostError;
}

/** What the steps make of a manifest. */
export type Applied = Pick<CycleReport, 'tables' | 'rowsLoaded' | 'rawBytes' | 'keptRows'> & {
  status: 'Success' | 'Unchanged';
  acknowledge: boolean;
  /** What the mirror holds now. */
  manifest: Manifest;
};

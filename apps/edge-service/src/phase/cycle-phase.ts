import type pg from 'pg';
import type { AppliedState } from '../state/mirror-state.js';
import type { Applied, Cycle } from './cycle.js';

/** A cycle whose start is recorded. Its phases run one after another. */
export interface OpenCycle {
  cycle: Cycle;
  /** The connection that holds the cycle lock. No other code uses it during the cycle. */
  client: pg.PoolClient;
  /** What the device held when the cycle began; undefined before the first success. */
  before: AppliedState | undefined;
  /** Acknowledgements of earlier cycles that central does not have yet. */
  pendingAcks: number;
  /** What the mirror holds now. Set by UpdateMirror. */
  applied?: Applied;
}

/** A part of every cycle. What it throws ends the cycle and becomes the cycle's error. */
export interface CyclePhase {
  run(open: OpenCycle): Promise<void>;
  /** The database was replaced: discards what the phase remembers of it. */
  reset?(): void;
}

/** Injection token of the phases, in the order in which a cycle runs them. */
export const CYCLE_PHASES = Symbol('cycle phases');

export interface CycleRunnerOptions {
  deviceMac: string;
}

/** Injection token of CycleRunnerOptions. */
export const CYCLE_RUNNER_OPTIONS = Symbol('cycle runner options');

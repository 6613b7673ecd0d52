export interface ScheduleOptions {
  /** From the end of one cycle to the start of the next; 0: only on demand. */
  syncIntervalMs: number;
}

/** Injection token of ScheduleOptions. */
export const SCHEDULE_OPTIONS = Symbol('schedule options');

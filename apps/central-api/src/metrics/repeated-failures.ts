/** Failures in a row that no more look like bad luck. */
export const REPEATED_FAILURES = 3;

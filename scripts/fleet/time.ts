/** The example's "today". Fixed, so that the same seed gives the same rows on any day. */
export const TODAY_MS = Date.UTC(2026, 0, 1);
export const DAY_MS = 86_400_000;

/** A timestamptz with microseconds, which JavaScript's Date would lose. */
export function timestamp(ms: number, micros: number): string {
  return `${new Date(ms).toISOString().slice(0, -1)}${String(micros).padStart(3, '0')}Z`;
}

export function date(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

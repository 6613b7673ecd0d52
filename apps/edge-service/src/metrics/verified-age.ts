/**
 * How long ago the device's data was last found equal to a manifest. Measured on the monotonic clock since this process knows; what an
 * earlier process left is known by the device's clock alone, which may have been set since then: the age is then at least that of this
 * process, which has verified nothing yet.
 */
export class VerifiedAge {
  /** On the monotonic clock; negative where it was before this process. */
  private sinceMs: number | undefined;

  /** Undefined while nothing is known to have been verified. */
  get ageMs(): number | undefined {
    return this.sinceMs === undefined ? undefined : Math.round(performance.now() - this.sinceMs);
  }

  /** Right now. */
  renew(): void {
    this.sinceMs = performance.now();
  }

  /** The data was lost. */
  forget(): void {
    this.sinceMs = undefined;
  }

  /** What an earlier process stored, by the clock of its time. What this process measured takes precedence. */
  restore(at: Date | undefined): void {
    if (this.sinceMs !== undefined || !at) return;
    this.sinceMs = Math.min(0, performance.now() - (Date.now() - at.getTime()));
  }
}

interface BudgetLimits {
  windowMs: number;
  /** Rows in one window, whatever they are about. */
  maxRows: number;
  /** Of these, rows with the same device, operation and reason. */
  maxAlike: number;
}

/**
 * How many refusals are audited one by one. Anyone can send requests that are refused, each with another MAC: the first ones of a window are rows,
 * the rest is counted, here and in the metrics. Of one process.
 */
export class RefusalBudget {
  private endsAtMs = -Infinity;
  private rows = 0;
  private left = 0;
  private alike = new Map<string, number>();

  /** @param onEnd is told, when a window with refusals beyond the budget is over and another refusal comes, how many they were */
  constructor(
    private readonly limits: BudgetLimits,
    private readonly onEnd: (leftOut: number) => void,
  ) {}

  /** @returns whether this one may be a row */
  take(key: string): boolean {
    if (performance.now() >= this.endsAtMs) this.begin();
    const alike = this.alike.get(key) ?? 0;
    if (this.rows >= this.limits.maxRows || alike >= this.limits.maxAlike) {
      this.left += 1;
      return false;
    }
    this.rows += 1;
    this.alike.set(key, alike + 1);
    return true;
  }

  private begin(): void {
    if (this.left > 0) this.onEnd(this.left);
    this.endsAtMs = performance.now() + this.limits.windowMs;
    [this.rows, this.left] = [0, 0];
    this.alike.clear();
  }
}

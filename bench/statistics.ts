/** Of several measurements of the same thing. */
export interface Spread {
  median: number;
  min: number;
  max: number;
  all: number[];
}

/** @param values at least one */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] as number;
  const median = sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] as number)) / 2;
  return { median, min: sorted[0] as number, max: sorted.at(-1) as number, all: [...values] };
}

export function medianOf(values: readonly number[]): number {
  return spreadOf(values).median;
}

/** The median of each number that all objects have under the same name. */
export function mediansByName(samples: readonly Record<string, number>[]): Record<string, number> {
  const names = Object.keys(samples[0] ?? {});
  return Object.fromEntries(names.map((name) => [name, medianOf(samples.map((sample) => sample[name] ?? 0))]));
}

export interface Latency {
  p50: number;
  p99: number;
  max: number;
}

/** NaN where there are no samples. */
export function latencyOf(samples: readonly number[]): Latency {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

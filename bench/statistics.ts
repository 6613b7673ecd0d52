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

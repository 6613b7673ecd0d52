export interface StateOptions {
  /** Tables with rows of the device that are handed over to Waypost, as quoteTable writes them. */
  adoptTables: '*' | ReadonlySet<string>;
}

/** Injection token of StateOptions. */
export const STATE_OPTIONS = Symbol('state options');

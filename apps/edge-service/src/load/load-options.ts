import type { SchemaMode } from '../schema/plan-changes.js';

/** `auto` fills empty tables and merges into the others; `truncate` and `merge` are for all tables. */
export type LoadStrategy = 'auto' | 'truncate' | 'merge';

export interface LoadOptions {
  strategy: LoadStrategy;
  /** How long one try waits for a locked row or table. */
  lockTimeoutMs: number;
  schemaMode: SchemaMode;
  /** Own tables that triggers of mirror tables may write to, as quoteTable writes them. */
  sideEffectTables: ReadonlySet<string>;
}

/** Injection token of LoadOptions. */
export const LOAD_OPTIONS = Symbol('load options');

export interface ScopeOptions {
  /** How long the scope query waits for a table that is being altered. */
  lockTimeoutMs: number;
  /** How long the scope query may take. */
  statementTimeoutMs: number;
}

/** Injection token of ScopeOptions. */
export const SCOPE_OPTIONS = Symbol('scope options');

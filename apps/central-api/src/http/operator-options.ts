export interface OperatorOptions {
  /** Opens /metrics, and the details of /health, as a bearer token. */
  metricsToken: string | undefined;
  /** What is for operators is served there alone; undefined: where devices are served. */
  adminAddress: { host: string; port: number } | undefined;
}

/** Injection token of OperatorOptions. */
export const OPERATOR_OPTIONS = Symbol('operator options');

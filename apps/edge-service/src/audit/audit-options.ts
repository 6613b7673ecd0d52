export interface AuditOptions {
  /** How long single cycles and refused acks stay; 0: for ever. */
  retentionMs: number;
}

/** Injection token of AuditOptions. */
export const AUDIT_OPTIONS = Symbol('audit options');

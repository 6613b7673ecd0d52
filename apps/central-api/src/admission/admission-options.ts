export interface AdmissionOptions {
  /** Snapshot transactions at one time. */
  maxBuilds: number;
  /** Requests with rows at one time, beside the builds. */
  maxPayloads: number;
  /** How long a request waits for one of them. */
  queueTimeoutMs: number;
  /** Chunk streams at one time. */
  maxDownloads: number;
  maxDownloadsPerDevice: number;
}

/** Injection token of AdmissionOptions. */
export const ADMISSION_OPTIONS = Symbol('admission options');

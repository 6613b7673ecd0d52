export interface DeviceApiOptions {
  /** How long a device may take to receive a payload. */
  payloadTimeoutMs: number;
  /** A longer chunk stream is aborted. */
  downloadDeadlineMs: number;
  /** Of one address in a minute, of each kind, from which more are refused; Infinity: any number. */
  failedAttempts: number;
  /** Of one address in a minute, failed or not; Infinity: any number. */
  enrollments: number;
}

/** Injection token of DeviceApiOptions. */
export const DEVICE_API_OPTIONS = Symbol('device api options');

export interface DeviceApiOptions {
  /** How long a device may take to receive a payload. */
  payloadTimeoutMs: number;
  /** A longer chunk stream is aborted. */
  downloadDeadlineMs: number;
}

/** Injection token of DeviceApiOptions. */
export const DEVICE_API_OPTIONS = Symbol('device api options');

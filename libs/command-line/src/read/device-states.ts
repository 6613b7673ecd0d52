/** Worst first; docs/observability.md says what each means. */
export const DEVICE_STATES = ['failing', 'silent', 'stale', 'never', 'fresh'] as const;
export type DeviceState = (typeof DEVICE_STATES)[number];

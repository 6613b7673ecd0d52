import type { SyncRequestRow } from '../database/entities.js';

const OPERATIONS = {
  '/api/device-sync/request': 'request',
  '/api/device-sync/ack': 'ack',
  '/api/device-sync/manifests/': 'download',
} as const;

/** What a device wants by this URL; undefined where it is none of a device's. */
export function operationOf(url: string): SyncRequestRow['operation'] | undefined {
  const prefix = Object.keys(OPERATIONS).find((candidate) => url.startsWith(candidate)) as keyof typeof OPERATIONS | undefined;
  return prefix && OPERATIONS[prefix];
}

import type { IdentityReport } from './identity.js';
import { columns, gigabytes } from './report.js';

/** What is to be reached. */
const MIN_SHARE_OF_MAC = 0.85;
const MIN_POLLS_PER_SECOND = 4000;
const MIN_RENEWALS_PER_SECOND = 1500;
const MAX_SYNC_MS = 20;
const MAX_SYNC_BYTES = 2500;
const MAX_REQUEST_MS = 1000;
const MAX_STREAM_MS = 5000;

/** `bench identity` for a person. */
export function formatIdentity({ date, machine, versions, byToken, byMac, devices, renewals, sync, revocation }: IdentityReport): string {
  const share = byToken.rate / byMac.rate;
  const { requestMs, streamMs } = revocation;
  const target = (met: boolean, name: string, value: string, limit: string): string[] => [met ? '✓' : '✗', name, value, limit];
  return [
    `bench identity, ${date}`,
    '',
    ...columns([
      ['machine', `${machine.cpu}, ${machine.cores} cores, ${gigabytes(machine.memoryBytes)}, ${machine.system}`],
      ['versions', `Node ${versions.node}, PostgreSQL ${versions.postgres}`],
    ]),
    '',
    `Polls of ${devices} devices that are up to date, each answer signed, each audited, at one central process`,
    ...columns([
      ['', 'per second', 'p50', 'p99'],
      ...Object.entries({ 'with access tokens': byToken, 'by MAC': byMac }).map(([name, load]) => [
        name,
        load.rate.toFixed(0),
        `${load.p50Ms.toFixed(1)} ms`,
        `${load.p99Ms.toFixed(1)} ms`,
      ]),
    ]),
    '',
    'Targets',
    ...columns([
      target(byToken.rate >= MIN_POLLS_PER_SECOND, 'polls per second', byToken.rate.toFixed(0), `≥ ${MIN_POLLS_PER_SECOND}`),
      target(share >= MIN_SHARE_OF_MAC, 'of those by MAC', `${share.toFixed(2)} ×`, `≥ ${MIN_SHARE_OF_MAC} ×`),
      target(
        renewals.perSecond.median >= MIN_RENEWALS_PER_SECOND,
        `access tokens per second, ${renewals.devices} devices at once`,
        renewals.perSecond.median.toFixed(0),
        `≥ ${MIN_RENEWALS_PER_SECOND}`,
      ),
      target(sync.ms.median <= MAX_SYNC_MS, 'sync/now over TLS, unchanged', `${sync.ms.median.toFixed(1)} ms`, `≤ ${MAX_SYNC_MS} ms`),
      target(sync.bytes.median <= MAX_SYNC_BYTES, 'its bytes both ways', String(sync.bytes.median), `≤ ${MAX_SYNC_BYTES}`),
      target(requestMs.max <= MAX_REQUEST_MS, 'revoked to refused, at most', `${requestMs.max.toFixed(0)} ms`, `≤ ${MAX_REQUEST_MS} ms`),
      target(streamMs.max <= MAX_STREAM_MS, 'revoked to a stream’s end, at most', `${streamMs.max.toFixed(0)} ms`, `≤ ${MAX_STREAM_MS} ms`),
    ]),
    '',
  ].join('\n');
}

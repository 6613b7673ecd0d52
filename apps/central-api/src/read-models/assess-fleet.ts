import { type Finding, formatSpan, plural, printable } from '@waypost/command-line';
import { ERROR_KINDS, type ErrorCode } from '@waypost/contracts';
import { REPEATED_FAILURES } from '../metrics/repeated-failures.js';
import type { FleetFacts } from './fleet.js';

/** A running central-api, as GET /health has it; or that it does not answer. */
export type ServiceFacts =
  { url: string; answers: false; reason: string } | { url: string; answers: true; healthy: boolean; problems: string[] };

export interface StoreFacts {
  folder: string;
  bytes: number;
  freeBytes: number | null;
  sizeBytes: number | null;
}

/** All devices together cannot be quiet for so long unless nothing reaches central. */
const QUIET_MS = 3_600_000;
/** Below, snapshots of a day may not fit any more. */
const LOW_SHARE = 0.1;

/** What is wrong with the fleet or with central, and what to do about it. */
export function assessFleet(fleet: FleetFacts | null, service: ServiceFacts | null, store: StoreFacts | null): Finding[] {
  return [
    ...assessService(service),
    ...(fleet ? [...assessDevices(fleet), ...assessRequests(fleet), ...assessCapture(fleet)] : []),
    ...assessStore(store),
  ];
}

function assessService(service: ServiceFacts | null): Finding[] {
  if (service?.answers === false) {
    const next = 'Start it, or read the end of its log: it says in one line why it could not start. Devices keep their data meanwhile.';
    return [{ severity: 'bad', what: `central-api does not answer at ${service.url} (${service.reason})`, next }];
  }
  if (!service || service.healthy) return [];
  return [
    {
      severity: 'bad',
      what: `central-api is not ready: ${service.problems.join('; ') || 'no reason given'}`,
      next: `curl ${service.url}/health has each check.`,
    },
  ];
}

function assessDevices({
  thresholds,
  devices,
  repeatedFailures,
  heldDevices,
  clonedDevices,
  errors,
  lastRequestAgeMs,
}: FleetFacts): Finding[] {
  const findings: Finding[] = [];
  const total = Object.values(devices).reduce((sum, count) => sum + count, 0);
  const add = (severity: Finding['severity'], count: number, what: string, next: string): void => {
    if (count > 0) findings.push({ severity, what: `${plural(count, 'device')} ${what}`, next });
  };
  if (lastRequestAgeMs !== null && lastRequestAgeMs > QUIET_MS) {
    findings.push({
      severity: 'bad',
      what: `No device has asked for ${formatSpan(lastRequestAgeMs)}: nothing reaches central.`,
      next: 'Check central’s address from outside (/healthz), its certificate, DNS and the gateway in front.',
    });
  }
  add('bad', heldDevices, 'held back: a table of their share lost more rows than MAX_SHRINK allows', 'waypost release lists what is gone.');
  add(
    'bad',
    clonedDevices,
    'whose identity is used by two machines: a disk was copied, or a key stolen',
    'waypost device list names them. Revoke each (waypost device revoke), then add both machines as two devices.',
  );
  const [cause] = errors;
  const why = cause ? ` (mostly ${cause.code})` : '';
  const help = `waypost devices --state failing${cause ? `; ${hintOf(cause.code)}` : ''}`;
  add('bad', repeatedFailures, `failed ${REPEATED_FAILURES} times in a row or more${why}`, help);
  if (repeatedFailures === 0) add('warn', devices.failing, `failed since the last proof${why}`, help);
  add(
    'bad',
    devices.silent,
    `silent: no request for more than ${formatSpan(thresholds.silentMs)}`,
    'waypost devices --state silent; is the device on, and does its network reach central?',
  );
  add(
    'warn',
    devices.stale,
    `whose verified state is older than ${formatSpan(thresholds.staleMs)}`,
    'waypost devices --state stale; waypost history <device> shows where it stops.',
  );
  add('warn', devices.never, 'never verified anything', 'waypost devices --state never; waypost status on the device says why.');
  if (total === 0) {
    findings.push({
      severity: 'warn',
      what: 'No device has ever got a manifest.',
      next: 'Start an edge-service with CENTRAL_URL and DEVICE_MAC set.',
    });
  }
  return findings;
}

function assessRequests({ troubles }: FleetFacts): Finding[] {
  return troubles
    .filter(({ status, reason }) => status === 'Failed' || reason === 'DEVICE_UNKNOWN')
    .map(({ status, reason, requests, devices }) => ({
      severity: status === 'Failed' && reason !== 'CENTRAL_BUSY' ? 'bad' : 'warn',
      what: `${plural(requests, 'request')} of ${plural(devices, 'device')} within the last hour: ${reason ?? status}`,
      next: hintOf(reason ?? ''),
    }));
}

function assessCapture({ uncaptured }: FleetFacts): Finding[] {
  return uncaptured.map((table) => ({
    severity: 'bad',
    what: `Changes to ${printable(table)} were not captured: every request reads all tables until an operator has looked.`,
    next: `waypost capture show says what was found and where to look; when it is mended: waypost capture trust ${printable(table)}`,
  }));
}

function assessStore(store: StoreFacts | null): Finding[] {
  if (store?.freeBytes == null || !store.sizeBytes || store.freeBytes >= LOW_SHARE * store.sizeBytes) return [];
  const share = `${Math.round((100 * store.freeBytes) / store.sizeBytes)} %`;
  return [
    {
      severity: 'bad',
      what: `Only ${share} of the snapshot store’s disk is free.`,
      next: `Free space below ${store.folder}, or shorten MANIFEST_TTL.`,
    },
  ];
}

function hintOf(code: string): string {
  return Object.hasOwn(ERROR_KINDS, code) ? ERROR_KINDS[code as ErrorCode].hint : 'The log of central-api has the details.';
}

import type { DeviceState } from '@waypost/command-line';
import type { Query } from '@waypost/runtime';
import { IS_HELD_BACK } from '../metrics/fleet.sql.js';
import { countStates, type DeviceRow, findDevices, type Thresholds } from './devices.js';

const WORST_SHOWN = 5;
const REQUESTS_SHOWN = 5;

const STATE = `
  SELECT (SELECT value FROM waypost.central_state WHERE key = 'epoch') AS epoch,
         (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM waypost.manifest_sequence)::int8 AS sequence,
         (SELECT count(*)::int FROM waypost.manifests WHERE expires_at > now()) AS live_manifests,
         (SELECT count(DISTINCT mac)::int FROM waypost.held_shrinks WHERE ${IS_HELD_BACK}) AS held_devices,
         (SELECT coalesce(array_agg(table_name ORDER BY table_name), '{}') FROM waypost.shadow_findings WHERE cleared_at IS NULL) AS uncaptured,
         (SELECT max(last_request_at) FROM waypost.device_status) AS last_request_at,
         now() AS now`;
const LAST_REQUESTS = `
  SELECT requested_at, mac, operation, status, reason, manifest_id, duration_ms
  FROM waypost.sync_requests ORDER BY requested_at DESC, id DESC LIMIT ${REQUESTS_SHOWN}`;
/** What central refused or could not do within the last hour, the most frequent first. */
const TROUBLES = `
  SELECT status, reason, count(*)::int AS requests, count(DISTINCT mac)::int AS devices
  FROM waypost.sync_requests WHERE requested_at > now() - interval '1 hour' AND status <> 'Issued'
  GROUP BY status, reason ORDER BY requests DESC LIMIT 10`;
/** Why devices fail, the most frequent first. */
const ERRORS = `
  SELECT last_error_code AS code, count(*)::int AS devices
  FROM waypost.device_status WHERE consecutive_failures > 0 AND last_error_code IS NOT NULL
  GROUP BY last_error_code ORDER BY devices DESC LIMIT 10`;

export interface RequestFacts {
  at: string;
  mac: string | null;
  operation: string;
  status: string;
  reason: string | null;
  manifestId: string | null;
  durationMs: number;
}

/** What central's database tells of the fleet and of central itself. */
export interface FleetFacts {
  thresholds: Thresholds;
  devices: Record<DeviceState, number>;
  /** Devices that failed several times in a row, whatever their state. */
  repeatedFailures: number;
  /** Held back because a table of their share shrank too much. */
  heldDevices: number;
  /** Tables of which a change was not captured: shadow reads or the canary found it, and no operator has looked yet. */
  uncaptured: string[];
  worst: DeviceRow[];
  epoch: string | null;
  sequence: number;
  liveManifests: number;
  lastRequestAgeMs: number | null;
  lastRequests: RequestFacts[];
  troubles: { status: string; reason: string | null; requests: number; devices: number }[];
  errors: { code: string; devices: number }[];
}

interface StateRow {
  epoch: string | null;
  sequence: string;
  live_manifests: number;
  held_devices: number;
  uncaptured: string[];
  last_request_at: Date | null;
  now: Date;
}

interface RequestRow {
  requested_at: Date;
  mac: string | null;
  operation: string;
  status: string;
  reason: string | null;
  manifest_id: string | null;
  duration_ms: number;
}

export async function readFleet(query: Query, thresholds: Thresholds): Promise<FleetFacts> {
  const [state] = (await query<StateRow>(STATE)) as [StateRow];
  const requests = await query<RequestRow>(LAST_REQUESTS);
  const { devices: worst } = await findDevices(query, {
    ...thresholds,
    states: ['failing', 'silent', 'never', 'stale'],
    olderThanMs: null,
    order: 'worst',
    limit: WORST_SHOWN,
  });
  const { states: devices, repeated } = await countStates(query, thresholds);
  return {
    thresholds,
    devices,
    repeatedFailures: repeated,
    heldDevices: state.held_devices,
    uncaptured: state.uncaptured,
    worst,
    epoch: state.epoch,
    sequence: Number(state.sequence),
    liveManifests: state.live_manifests,
    lastRequestAgeMs: state.last_request_at && Math.max(0, state.now.getTime() - state.last_request_at.getTime()),
    lastRequests: requests.map((row) => ({
      at: row.requested_at.toISOString(),
      mac: row.mac,
      operation: row.operation,
      status: row.status,
      reason: row.reason,
      manifestId: row.manifest_id,
      durationMs: row.duration_ms,
    })),
    troubles: await query<FleetFacts['troubles'][number]>(TROUBLES),
    errors: await query<FleetFacts['errors'][number]>(ERRORS),
  };
}

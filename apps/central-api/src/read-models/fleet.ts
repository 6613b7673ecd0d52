import type { DeviceState } from '@waypost/command-line';
import type { Query } from '@waypost/runtime';
import { countStates, type DeviceRow, findDevices, type Thresholds } from './devices.js';
import * as sql from './fleet.sql.js';

const WORST_SHOWN = 5;

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
  /** Whose key in force is used by two machines. */
  clonedDevices: number;
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
  cloned_devices: number;
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
  const [state] = (await query<StateRow>(sql.READ_CENTRAL)) as [StateRow];
  const requests = await query<RequestRow>(sql.LAST_REQUESTS);
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
    clonedDevices: state.cloned_devices,
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
    troubles: await query<FleetFacts['troubles'][number]>(sql.TROUBLES),
    errors: await query<FleetFacts['errors'][number]>(sql.ERRORS),
  };
}

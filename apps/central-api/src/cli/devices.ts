import {
  type Answer,
  type Cell,
  type CommandContext,
  DEVICE_STATES,
  type DeviceState,
  ExitCode,
  formatSpan,
  plural,
} from '@waypost/command-line';
import { WaypostError } from '@waypost/contracts';
import { type DeviceRow, findDevices, type Order, thresholdsOf } from './device-states.js';

const DEFAULT_LIMIT = 1000;

/** `waypost devices`: each device that ever got a manifest, by the age of what it last proved to hold. */
export async function devices(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const wanted = {
    ...thresholdsOf(context),
    states: statesOf(context.option('state')),
    olderThanMs: context.duration('olderThan') ?? null,
    order: (context.option('sort') ?? 'worst') as Order,
    limit: context.limit(DEFAULT_LIMIT),
  };
  const { devices: found, total } = await findDevices(context.database, wanted);
  return {
    data: { total, hasMore: total > found.length, devices: found.map(deviceData) },
    text: textOf(context, found, total),
    exitCode: ExitCode.ok,
  };
}

/** The JSON form of a device. */
export function deviceData(row: DeviceRow): object {
  return {
    mac: row.mac,
    state: row.state,
    verifiedAt: row.verified_at?.toISOString() ?? null,
    verifiedAgeMs: row.verified_age_ms === null ? null : Math.round(row.verified_age_ms),
    verifiedManifestId: row.verified_manifest_id,
    verifiedSequence: row.verified_sequence === null ? null : Number(row.verified_sequence),
    verifiedEpoch: row.verified_epoch,
    firstSeenAt: row.first_seen_at.toISOString(),
    lastRequestAt: row.last_request_at.toISOString(),
    lastManifestId: row.last_manifest_id,
    consecutiveFailures: row.consecutive_failures,
    lastFailureAt: row.last_failure_at?.toISOString() ?? null,
    lastErrorCode: row.last_error_code,
    lastError: row.last_error,
    filters: row.filters,
  };
}

const TONES = { failing: 'bad', silent: 'bad', stale: 'warn', never: 'warn', fresh: 'good' } as const;

/** The table of devices that `devices` and `status` show. */
export function deviceTable(context: CommandContext, rows: readonly DeviceRow[]): string {
  return context.table(
    [
      { title: 'device' },
      { title: 'state' },
      { title: 'verified ago', align: 'right' },
      { title: 'sequence', align: 'right' },
      { title: 'asked ago', align: 'right' },
      { title: 'failures', align: 'right' },
      { title: 'last error', elastic: true },
    ],
    rows.map((row): Cell[] => [
      row.mac,
      { text: row.state, tone: TONES[row.state] },
      row.verified_age_ms === null ? null : formatSpan(row.verified_age_ms),
      row.verified_sequence,
      formatSpan(row.request_age_ms),
      row.consecutive_failures,
      errorOf(row),
    ]),
  );
}

function errorOf({ last_error_code, last_error }: DeviceRow): string | null {
  if (last_error_code === null) return null;
  // An ack's text begins with the code already.
  return last_error === null || last_error.startsWith(last_error_code)
    ? (last_error ?? last_error_code)
    : `${last_error_code}: ${last_error}`;
}

function textOf(context: CommandContext, found: readonly DeviceRow[], total: number): string {
  if (found.length === 0) return 'No device matches.';
  const more =
    total > found.length ? [context.paint('dim', `${plural(found.length, 'device')} of ${total}: --limit ${total} shows all.`)] : [];
  return [deviceTable(context, found), ...more].join('\n');
}

function statesOf(text: string | undefined): DeviceState[] | null {
  if (text === undefined) return null;
  const states = text.split(',').map((state) => state.trim().toLowerCase());
  const unknown = states.find((state) => !DEVICE_STATES.includes(state as DeviceState));
  if (unknown === undefined) return states as DeviceState[];
  throw new WaypostError('CONFIG_INVALID', {
    detail: `--state ${JSON.stringify(unknown)} is not a state of devices.`,
    hint: `States are ${DEVICE_STATES.join(', ')}; several are separated by commas.`,
  });
}

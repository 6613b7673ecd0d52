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
import { deviceData, type DeviceRow, findDevices, type Order } from '../read-models/devices.js';
import { thresholdsOf } from './thresholds.js';

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
  const { devices: found, total } = await findDevices(context.database.query, wanted);
  return {
    data: { total, hasMore: total > found.length, devices: found.map(deviceData) },
    text: textOf(context, found, total),
    exitCode: ExitCode.ok,
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

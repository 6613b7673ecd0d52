import { type Answer, type Cell, type CommandContext, ExitCode, formatSpan, formatTime } from '@waypost/command-line';
import { WaypostError } from '@waypost/contracts';
import { type DeviceHistory, readHistory } from '../read-models/device-history.js';

const DEFAULT_LIMIT = 50;

/** `waypost history`: the events of one device as central knows them, the oldest first. */
export async function history(context: CommandContext): Promise<Answer> {
  const { database } = context;
  const mac = context.mac(context.subject);
  await database.mustBe('central');
  const sinceMs = context.duration('since');
  const since = sinceMs === undefined ? '-infinity' : new Date(Date.now() - sinceMs);
  const limit = context.limit(DEFAULT_LIMIT);
  const found = await readHistory(database.query, mac, since, limit);
  if (found.events.length === 0) {
    throw new WaypostError('DEVICE_UNKNOWN', {
      detail: `Central knows nothing of ${mac}${sinceMs === undefined ? '' : ` for ${formatSpan(sinceMs)}`}.`,
      hint: 'Compare the MAC with DEVICE_MAC on the device; waypost devices lists every device that central knows.',
    });
  }
  return { data: found, text: textOf(context, found), exitCode: ExitCode.ok };
}

function textOf(context: CommandContext, { mac, hasMore, events }: DeviceHistory): string {
  const cells = events.map((event): Cell[] => [
    formatTime(event.at),
    event.kind,
    { text: event.outcome, tone: /Failed|Refused/.test(event.outcome) ? 'bad' : event.outcome === 'Success' ? 'good' : 'dim' },
    event.manifestId,
    event.durationMs === null ? null : formatSpan(event.durationMs),
    event.detail ?? (event.sequence === null ? null : `sequence ${event.sequence}, ${(event.rowCount ?? 0).toLocaleString('en-US')} rows`),
  ]);
  const table = context.table(
    [
      { title: 'time' },
      { title: 'what' },
      { title: 'outcome' },
      { title: 'manifest' },
      { title: 'took', align: 'right' },
      { title: 'detail', elastic: true },
    ],
    cells,
  );
  const more = hasMore ? [context.paint('dim', `Older events are left out: --limit ${2 * events.length} shows more.`)] : [];
  return [context.paint('strong', `Device ${mac}`), ...more, table].join('\n');
}

import { type Answer, type Cell, type CommandContext, ExitCode, formatSpan, formatTime } from '@waypost/command-line';
import { WaypostError } from '@waypost/contracts';

const DEFAULT_LIMIT = 50;

/** The newest events of a device, from three tables. $1: MAC, $2: earliest time, $3: how many. */
const EVENTS = `
  SELECT * FROM (
    (SELECT requested_at AS at, CASE operation WHEN 'request' THEN 1 WHEN 'download' THEN 3 ELSE 5 END AS rank,
            operation AS kind, status AS outcome, manifest_id, duration_ms::int8 AS duration_ms, reason AS detail, NULL::int8 AS sequence, NULL::int8 AS rows
     FROM waypost.sync_requests WHERE mac = $1 AND requested_at >= $2 ORDER BY requested_at DESC LIMIT $3)
    UNION ALL
    (SELECT generated_at, 2, 'manifest', 'Generated', manifest_id, NULL, NULL, sequence,
            (SELECT sum(row_count)::int8 FROM waypost.sync_manifests t WHERE t.manifest_id = m.manifest_id)
     FROM waypost.manifests m WHERE mac = $1 AND generated_at >= $2 ORDER BY generated_at DESC LIMIT $3)
    UNION ALL
    (SELECT completed_at, 4, 'ack', result, manifest_id, duration_ms, error_text, NULL, NULL
     FROM waypost.sync_acknowledgements WHERE mac = $1 AND completed_at >= $2 ORDER BY completed_at DESC LIMIT $3)
  ) AS events
  ORDER BY at DESC, rank DESC
  LIMIT $3`;

interface EventRow {
  at: Date;
  kind: string;
  outcome: string;
  manifest_id: string | null;
  duration_ms: string | null;
  detail: string | null;
  sequence: string | null;
  rows: string | null;
}

/** `waypost history`: the story of one device as central knows it, the oldest first. */
export async function history(context: CommandContext): Promise<Answer> {
  const { database } = context;
  const mac = context.mac(context.subject);
  await database.mustBe('central');
  const sinceMs = context.duration('since');
  const since = sinceMs === undefined ? '-infinity' : new Date(Date.now() - sinceMs);
  const limit = context.limit(DEFAULT_LIMIT);
  const rows = (await database.query<EventRow>(EVENTS, [mac, since, limit + 1])).reverse();
  if (rows.length === 0) {
    throw new WaypostError('DEVICE_UNKNOWN', {
      detail: `Central has heard nothing of ${mac}${sinceMs === undefined ? '' : ` for ${formatSpan(sinceMs)}`}.`,
      hint: 'Compare the MAC with DEVICE_MAC on the device; waypost devices lists every device that central has heard of.',
    });
  }
  const hasMore = rows.length > limit;
  const events = hasMore ? rows.slice(1) : rows;
  return {
    data: { mac, hasMore, events: events.map(dataOf) },
    text: textOf(context, mac, events, hasMore),
    exitCode: ExitCode.ok,
  };
}

function dataOf(event: EventRow): object {
  const number = (text: string | null): number | null => (text === null ? null : Number(text));
  return {
    at: event.at.toISOString(),
    kind: event.kind,
    outcome: event.outcome,
    manifestId: event.manifest_id,
    sequence: number(event.sequence),
    rowCount: number(event.rows),
    durationMs: number(event.duration_ms),
    detail: event.detail,
  };
}

function textOf(context: CommandContext, mac: string, events: readonly EventRow[], hasMore: boolean): string {
  const cells = events.map((event): Cell[] => [
    formatTime(event.at),
    event.kind,
    { text: event.outcome, tone: /Failed|Refused/.test(event.outcome) ? 'bad' : event.outcome === 'Success' ? 'good' : 'dim' },
    event.manifest_id,
    event.duration_ms === null ? null : formatSpan(Number(event.duration_ms)),
    event.detail ??
      (event.sequence === null ? null : `sequence ${event.sequence}, ${Number(event.rows ?? 0).toLocaleString('en-US')} rows`),
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

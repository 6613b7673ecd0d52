import type { Query } from '@waypost/runtime';

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

/** A request, a manifest or an acknowledgement. */
export interface DeviceEvent {
  at: string;
  kind: string;
  outcome: string;
  manifestId: string | null;
  /** `sequence` and `rowCount` are of manifests. */
  sequence: number | null;
  rowCount: number | null;
  durationMs: number | null;
  detail: string | null;
}

export interface DeviceHistory {
  mac: string;
  /** There are older events than these. */
  hasMore: boolean;
  /** The oldest first. */
  events: DeviceEvent[];
}

/** The newest events of a device as central knows them. */
export async function readHistory(query: Query, mac: string, since: Date | '-infinity', limit: number): Promise<DeviceHistory> {
  const rows = (await query<EventRow>(EVENTS, [mac, since, limit + 1])).reverse();
  const hasMore = rows.length > limit;
  return { mac, hasMore, events: (hasMore ? rows.slice(1) : rows).map(eventOf) };
}

function eventOf(row: EventRow): DeviceEvent {
  return {
    at: row.at.toISOString(),
    kind: row.kind,
    outcome: row.outcome,
    manifestId: row.manifest_id,
    sequence: numberOf(row.sequence),
    rowCount: numberOf(row.rows),
    durationMs: numberOf(row.duration_ms),
    detail: row.detail,
  };
}

function numberOf(text: string | null): number | null {
  return text === null ? null : Number(text);
}

import type { Query } from '@waypost/runtime';
import { findHeld } from './held-state.js';

const CYCLES_SHOWN = 5;

/** Cycle ids are ULIDs: the newest is the greatest. */
const LAST_CYCLES = `
  SELECT id, started_at, status, duration_ms::int8, trigger, manifest_id, rows_loaded::int8, downloaded_bytes::int8, error_code, error_text
  FROM waypost.edge_sync_log ORDER BY id DESC LIMIT ${CYCLES_SHOWN}`;
const COUNTS = `
  SELECT (SELECT count(*)::int FROM waypost.edge_sync_log
          WHERE status = 'Failed' AND error_code IS DISTINCT FROM 'SHUTTING_DOWN'
            AND id > coalesce((SELECT max(id) FROM waypost.edge_sync_log WHERE status IN ('Success', 'Unchanged')), '')) AS failures,
         (SELECT count(*)::int FROM waypost.edge_acks WHERE refused_at IS NULL) AS pending_acks,
         (SELECT count(*)::int FROM waypost.edge_acks WHERE refused_at IS NOT NULL) AS refused_acks,
         (SELECT count(*)::int FROM waypost.edge_kept_rows) AS kept_rows,
         (SELECT count(*)::int FROM waypost.edge_mirror_tables) AS tables,
         (SELECT coalesce(sum(row_count), 0)::int8 FROM waypost.edge_mirror_tables) AS rows,
         clock_timestamp() AS now`;

export interface CycleFacts {
  id: string;
  startedAt: string;
  status: string;
  durationMs: number | null;
  trigger: string | null;
  manifestId: string | null;
  rowsLoaded: number;
  downloadedBytes: number;
  error: { code: string; detail: string } | null;
}

/** What a device knows of itself; from its database, its service, or both. */
export interface DeviceStatus {
  mac: string | null;
  verified: { manifestId: string; sequence: number; epoch: string; at: string; ageMs: number } | null;
  consecutiveFailures: number;
  pendingAcks: number | null;
  /** Central refused them for good. Null where only the service was asked. */
  refusedAcks: number | null;
  keptRows: number | null;
  tables: number | null;
  rows: number | null;
  /** The newest first. */
  cycles: CycleFacts[];
}

/** A running service, as GET /api/sync/status has it; or that it does not answer. */
export type ServiceFacts =
  | { url: string; answers: false; reason: string }
  | {
      url: string;
      answers: true;
      running: boolean;
      intervalMs: number;
      breaker: string;
      alert: { code: string; detail: string; hint: string } | null;
    };

/** What GET /api/sync/status answers, as far as it is used here. */
export interface StatusReport {
  running: boolean;
  intervalMs: number;
  lastAttempt: { startedAt: string; status: string; error?: { code: string; detail: string } } | null;
  lastSuccess: { at: string; manifestId: string; sequence: number; epoch: string } | null;
  consecutiveFailures: number;
  verifiedAgeMs: number | null;
  breaker: string;
  pendingAcks: number | null;
  keptRows: number | null;
  alert: { code: string; detail: string; hint: string } | null;
}

interface CycleRow {
  id: string;
  started_at: Date;
  status: string;
  duration_ms: string | null;
  trigger: string;
  manifest_id: string | null;
  rows_loaded: string;
  downloaded_bytes: string;
  error_code: string | null;
  error_text: string | null;
}

interface Counts {
  failures: number;
  pending_acks: number;
  refused_acks: number;
  kept_rows: number;
  tables: number;
  rows: string;
  now: Date;
}

/** Reads the status from a device's database: it needs no running service. */
export async function readDeviceStatus(query: Query): Promise<DeviceStatus> {
  const held = await findHeld(query);
  const cycles = await query<CycleRow>(LAST_CYCLES);
  const [counts] = (await query<Counts>(COUNTS)) as [Counts];
  return {
    mac: held?.manifest?.device.mac ?? null,
    verified: held
      ? {
          manifestId: held.manifestId,
          sequence: held.sequence,
          epoch: held.epoch,
          at: held.verifiedAt.toISOString(),
          ageMs: Math.max(0, counts.now.getTime() - held.verifiedAt.getTime()),
        }
      : null,
    consecutiveFailures: counts.failures,
    pendingAcks: counts.pending_acks,
    refusedAcks: counts.refused_acks,
    keptRows: counts.kept_rows,
    tables: counts.tables,
    rows: Number(counts.rows),
    cycles: cycles.map((row) => ({
      id: row.id,
      startedAt: row.started_at.toISOString(),
      status: row.status,
      durationMs: row.duration_ms === null ? null : Number(row.duration_ms),
      trigger: row.trigger,
      manifestId: row.manifest_id,
      rowsLoaded: Number(row.rows_loaded),
      downloadedBytes: Number(row.downloaded_bytes),
      error: row.error_code === null ? null : { code: row.error_code, detail: row.error_text ?? '' },
    })),
  };
}

/** What the service alone knows of the status. */
export function statusOf(report: StatusReport): DeviceStatus {
  const { lastSuccess, lastAttempt, verifiedAgeMs, consecutiveFailures, pendingAcks, keptRows } = report;
  return {
    mac: null,
    verified: lastSuccess && { ...lastSuccess, ageMs: verifiedAgeMs ?? 0 },
    consecutiveFailures,
    pendingAcks,
    refusedAcks: null,
    keptRows,
    tables: null,
    rows: null,
    cycles: lastAttempt
      ? [
          {
            id: '',
            startedAt: lastAttempt.startedAt,
            status: lastAttempt.status,
            durationMs: null,
            trigger: null,
            manifestId: null,
            rowsLoaded: 0,
            downloadedBytes: 0,
            error: lastAttempt.error ?? null,
          },
        ]
      : [],
  };
}

import type { Manifest, ManifestTable } from '@waypost/contracts';
import type { Query } from '@waypost/runtime';

const FILTERS = 'SELECT table_name, filter_desc FROM waypost.sync_manifests WHERE manifest_id = $1';
const ACKS = `
  SELECT completed_at, result, reported_status, duration_ms::int8, error_text
  FROM waypost.sync_acknowledgements WHERE manifest_id = $1 ORDER BY completed_at, id`;

interface AckRow {
  completed_at: Date;
  result: string;
  reported_status: string;
  duration_ms: string;
  error_text: string | null;
}

type TableReport = Pick<ManifestTable, 'name' | 'rowCount' | 'rawBytes' | 'streamBytes' | 'sha256' | 'format'> & {
  /** The plan's condition, with this device's values. */
  filter: string | null;
};

export interface AckReport {
  completedAt: string;
  result: string;
  reportedStatus: string;
  durationMs: number;
  error: string | null;
}

type ManifestHead = Pick<
  Manifest,
  'manifestId' | 'generatedAt' | 'expiresAt' | 'epoch' | 'sequence' | 'schemaVersion' | 'sha256' | 'filters'
>;

/** What central gave a device, and what the device made of it. */
export interface ManifestReport extends ManifestHead {
  mac: string;
  deviceId: string | null;
  expired: boolean;
  tables: TableReport[];
  acks: AckReport[];
}

/** @param manifest one that this database holds */
export async function reportManifest(query: Query, manifest: Manifest): Promise<ManifestReport> {
  const { manifestId, device, generatedAt, expiresAt, epoch, sequence, schemaVersion, sha256, filters } = manifest;
  const rows = await query<{ table_name: string; filter_desc: string }>(FILTERS, [manifestId]);
  const filterOf = new Map(rows.map((row) => [row.table_name, row.filter_desc]));
  return {
    manifestId,
    mac: device.mac,
    deviceId: device.id,
    generatedAt,
    expiresAt,
    expired: Date.parse(expiresAt) <= Date.now(),
    epoch,
    sequence,
    schemaVersion,
    sha256,
    filters,
    tables: manifest.tables.map(({ name, rowCount, rawBytes, streamBytes, sha256, format }) => ({
      name,
      rowCount,
      rawBytes,
      streamBytes,
      sha256,
      format,
      filter: filterOf.get(name) ?? null,
    })),
    acks: (await query<AckRow>(ACKS, [manifestId])).map((ack) => ({
      completedAt: ack.completed_at.toISOString(),
      result: ack.result,
      reportedStatus: ack.reported_status,
      durationMs: Number(ack.duration_ms),
      error: ack.error_text,
    })),
  };
}

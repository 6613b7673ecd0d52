import {
  type Cell,
  type CommandContext,
  type Answer,
  ExitCode,
  formatBytes,
  formatSpan,
  formatTime,
  renderFacts,
  printable,
  shortHash,
} from '@waypost/command-line';
import type { Manifest, ManifestTable } from '@waypost/contracts';
import { selectManifest } from './select-manifest.js';

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

/** `waypost manifest`: what central gave a device, and what the device made of it. */
export async function manifest(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const found = await selectManifest(context, context.subject);
  const filters = await context.database.query<{ table_name: string; filter_desc: string }>(FILTERS, [found.manifestId]);
  const acks = await context.database.query<AckRow>(ACKS, [found.manifestId]);
  const filterOf = new Map(filters.map((row) => [row.table_name, row.filter_desc]));
  return {
    data: dataOf(found, filterOf, acks),
    text: textOf(context, found, filterOf, acks),
    exitCode: ExitCode.ok,
  };
}

function dataOf(found: Manifest, filterOf: ReadonlyMap<string, string>, acks: readonly AckRow[]): object {
  return {
    manifestId: found.manifestId,
    mac: found.device.mac,
    deviceId: found.device.id,
    generatedAt: found.generatedAt,
    expiresAt: found.expiresAt,
    expired: isExpired(found),
    epoch: found.epoch,
    sequence: found.sequence,
    schemaVersion: found.schemaVersion,
    sha256: found.sha256,
    filters: found.filters,
    tables: found.tables.map(({ name, rowCount, rawBytes, streamBytes, sha256, format }) => ({
      name,
      rowCount,
      rawBytes,
      streamBytes,
      sha256,
      format,
      filter: filterOf.get(name) ?? null,
    })),
    acks: acks.map((ack) => ({
      completedAt: ack.completed_at.toISOString(),
      result: ack.result,
      reportedStatus: ack.reported_status,
      durationMs: Number(ack.duration_ms),
      error: ack.error_text,
    })),
  };
}

function textOf(context: CommandContext, found: Manifest, filterOf: ReadonlyMap<string, string>, acks: readonly AckRow[]): string {
  const { paint } = context;
  const parameters = Object.entries(found.filters).map(([name, value]) => `${name} = ${value ?? 'NULL'}`);
  const expiry = `${formatTime(found.expiresAt)}, ${untilOf(found)}`;
  const sum = (of: (table: ManifestTable) => number): number => found.tables.reduce((total, table) => total + of(table), 0);
  const total: Cell[] = [
    'total',
    sum((table) => table.rowCount),
    formatBytes(sum((table) => table.rawBytes)),
    formatBytes(sum((table) => table.streamBytes)),
  ];
  return [
    paint('strong', `Manifest ${found.manifestId}`),
    renderFacts(
      [
        ['device', printable(found.device.id === null ? found.device.mac : `${found.device.mac} (${found.device.id})`)],
        ['generated', formatTime(found.generatedAt)],
        ['expires', isExpired(found) ? paint('warn', expiry) : expiry],
        ['sequence', `${found.sequence} of epoch ${found.epoch}, schema version ${found.schemaVersion}`],
        ['parameters', printable(parameters.join(', ') || 'none')],
        ['sha256', found.sha256],
      ],
      paint,
    ),
    '',
    context.table(
      [
        { title: 'table' },
        { title: 'rows', align: 'right' },
        { title: 'bytes', align: 'right' },
        { title: 'on the wire', align: 'right' },
        { title: 'sha256' },
        { title: 'filter', elastic: true },
      ],
      [
        ...found.tables.map(({ name, rowCount, rawBytes, streamBytes, sha256 }): Cell[] => [
          name,
          rowCount,
          formatBytes(rawBytes),
          formatBytes(streamBytes),
          shortHash(sha256),
          filterOf.get(name) ?? null,
        ]),
        [...total, '', ''],
      ],
    ),
    '',
    acks.length === 0 ? paint('warn', 'Not acknowledged.') : ackTable(context, acks),
  ].join('\n');
}

function ackTable(context: CommandContext, acks: readonly AckRow[]): string {
  return context.table(
    [
      { title: 'acknowledged' },
      { title: 'result' },
      { title: 'device says' },
      { title: 'took', align: 'right' },
      { title: 'error', elastic: true },
    ],
    acks.map(({ completed_at, result, reported_status, duration_ms, error_text }) => [
      formatTime(completed_at),
      { text: result, tone: result === 'Success' ? 'good' : 'bad' },
      reported_status,
      formatSpan(Number(duration_ms)),
      error_text,
    ]),
  );
}

function isExpired({ expiresAt }: Manifest): boolean {
  return Date.parse(expiresAt) <= Date.now();
}

function untilOf({ expiresAt }: Manifest): string {
  const leftMs = Date.parse(expiresAt) - Date.now();
  return leftMs > 0 ? `in ${formatSpan(leftMs)}` : `${formatSpan(-leftMs)} ago: chunks can no longer be downloaded`;
}

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
import { findManifest } from '../read-models/find-manifest.js';
import { type AckReport, type ManifestReport, reportManifest } from '../read-models/manifest-report.js';

/** `waypost manifest`: what central gave a device, and what the device made of it. */
export async function manifest(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const { query } = context.database;
  const report = await reportManifest(query, await findManifest(query, context.subject));
  return { data: report, text: textOf(context, report), exitCode: ExitCode.ok };
}

function textOf(context: CommandContext, report: ManifestReport): string {
  const { paint } = context;
  const { mac, deviceId, tables, acks } = report;
  const parameters = Object.entries(report.filters).map(([name, value]) => `${name} = ${value ?? 'NULL'}`);
  const expiry = `${formatTime(report.expiresAt)}, ${untilOf(report)}`;
  const sum = (of: (table: ManifestReport['tables'][number]) => number): number => tables.reduce((total, table) => total + of(table), 0);
  const total: Cell[] = [
    'total',
    sum((table) => table.rowCount),
    formatBytes(sum((table) => table.rawBytes)),
    formatBytes(sum((table) => table.streamBytes)),
  ];
  return [
    paint('strong', `Manifest ${report.manifestId}`),
    renderFacts(
      [
        ['device', printable(deviceId === null ? mac : `${mac} (${deviceId})`)],
        ['generated', formatTime(report.generatedAt)],
        ['expires', report.expired ? paint('warn', expiry) : expiry],
        ['sequence', `${report.sequence} of epoch ${report.epoch}, schema version ${report.schemaVersion}`],
        ['parameters', printable(parameters.join(', ') || 'none')],
        ['sha256', report.sha256],
      ],
      paint,
    ),
    '',
    context.table(
      [
        { title: 'table' },
        { title: 'rows', align: 'right' },
        { title: 'uncompressed', align: 'right' },
        { title: 'compressed', align: 'right' },
        { title: 'sha256' },
        { title: 'filter', elastic: true },
      ],
      [
        ...tables.map(({ name, rowCount, rawBytes, streamBytes, sha256, filter }): Cell[] => [
          name,
          rowCount,
          formatBytes(rawBytes),
          formatBytes(streamBytes),
          shortHash(sha256),
          filter,
        ]),
        [...total, '', ''],
      ],
    ),
    '',
    acks.length === 0 ? paint('warn', 'Not acknowledged.') : ackTable(context, acks),
  ].join('\n');
}

function ackTable(context: CommandContext, acks: readonly AckReport[]): string {
  return context.table(
    [
      { title: 'acknowledged' },
      { title: 'result' },
      { title: 'device says' },
      { title: 'took', align: 'right' },
      { title: 'error', elastic: true },
    ],
    acks.map(({ completedAt, result, reportedStatus, durationMs, error }) => [
      formatTime(completedAt),
      { text: result, tone: result === 'Success' ? 'good' : 'bad' },
      reportedStatus,
      formatSpan(durationMs),
      error,
    ]),
  );
}

function untilOf({ expiresAt }: ManifestReport): string {
  const leftMs = Date.parse(expiresAt) - Date.now();
  return leftMs > 0 ? `in ${formatSpan(leftMs)}` : `${formatSpan(-leftMs)} ago: chunks can no longer be downloaded`;
}

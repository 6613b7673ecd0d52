import {
  type Answer,
  askService,
  type Cell,
  type CommandContext,
  exitCodeFor,
  type Finding,
  formatBytes,
  formatCount,
  formatSpan,
  formatTime,
  renderFacts,
  renderVerdict,
  sendBy,
} from '@waypost/command-line';
import { WaypostError } from '@waypost/contracts';
import { assessDevice, firstLine } from '../read-models/assess-device.js';
import { type DeviceStatus, readDeviceStatus, type ServiceFacts, type StatusReport, statusOf } from '../read-models/device-status.js';

const DEFAULT_PORT = '8081';

/** `waypost status` of one device: from its database, its running service, or both. */
export async function status(context: CommandContext): Promise<Answer> {
  const { report, service } = await askRunning(context);
  const facts = context.hasDatabase ? await readDeviceStatus(context.database.query) : statusOf(report as StatusReport);
  if (report?.verifiedAgeMs != null && facts.verified) facts.verified.ageMs = report.verifiedAgeMs;
  facts.mac ??= context.env['DEVICE_MAC'] ?? null;
  const findings = assessDevice(facts, service);
  return {
    data: {
      side: 'edge',
      ok: exitCodeFor(findings) === 0,
      findings,
      database: context.hasDatabase ? context.database.address : null,
      service,
      ...facts,
    },
    text: textOf(context, facts, service, findings),
    exitCode: exitCodeFor(findings),
  };
}

/** The service is asked where its address is given, or where this is its own environment (DEVICE_MAC is set, as in its container). */
async function askRunning(context: CommandContext): Promise<{ report?: StatusReport; service: ServiceFacts | null }> {
  const given = context.option('url');
  const own = context.env['DEVICE_MAC'] ? `http://127.0.0.1:${context.env['PORT'] || DEFAULT_PORT}` : undefined;
  const url = given ?? own;
  if (url === undefined) return { service: null };
  try {
    const { ok, status, body } = await askService(url, '/api/sync/status', '--url', sendBy({ ca: await context.authorities() }));
    if (!ok) return { service: { url, answers: false, reason: `it answered ${status}` } };
    const report = body as StatusReport;
    const { running, intervalMs, breaker, alert } = report;
    return { report, service: { url, answers: true, running, intervalMs, breaker, alert } };
  } catch (error) {
    if (!(error instanceof WaypostError) || !context.hasDatabase) throw error;
    return { service: { url, answers: false, reason: error.message } };
  }
}

function textOf(context: CommandContext, facts: DeviceStatus, service: ServiceFacts | null, findings: readonly Finding[]): string {
  const { paint } = context;
  const { verified, cycles } = facts;
  const good = verified ? `Verified ${formatSpan(verified.ageMs)} ago.` : 'Never verified.';
  const shown: [string, string][] = [
    ['device', facts.mac ?? 'unknown'],
    ...(context.hasDatabase ? [['database', context.database.address] as [string, string]] : []),
    ['service', serviceLine(service)],
    [
      'verified',
      verified
        ? `${formatTime(verified.at)}, manifest ${verified.manifestId}, sequence ${verified.sequence} of epoch ${verified.epoch}`
        : 'never',
    ],
    ...(facts.tables === null
      ? []
      : [['holds', `${formatCount(facts.tables)} tables, ${formatCount(facts.rows ?? 0)} rows`] as [string, string]]),
    ['acks', `${facts.pendingAcks ?? '?'} to send${facts.refusedAcks === null ? '' : `, ${facts.refusedAcks} refused`}`],
    ['kept rows', `${facts.keptRows ?? '?'}`],
  ];
  return [renderVerdict(context, good, findings), '', renderFacts(shown, paint), '', cyclesTable(context, cycles)].join('\n').trimEnd();
}

function serviceLine(service: ServiceFacts | null): string {
  if (!service) return 'not asked: give --url http://<edge>:8081';
  if (!service.answers) return `${service.url} does not answer`;
  const interval = service.intervalMs === 0 ? 'on demand only' : `every ${formatSpan(service.intervalMs)}`;
  return `${service.url}, ${service.running ? 'a cycle is running' : 'idle'}, ${interval}, breaker ${service.breaker}`;
}

function cyclesTable(context: CommandContext, cycles: DeviceStatus['cycles']): string {
  if (cycles.length === 0) return context.paint('dim', 'No cycle yet.');
  const tones = { Failed: 'bad', Success: 'good', Unchanged: 'dim', Running: 'warn' } as const;
  return context.table(
    [
      { title: 'cycle' },
      { title: 'status' },
      { title: 'took', align: 'right' },
      { title: 'rows', align: 'right' },
      { title: 'downloaded', align: 'right' },
      { title: 'error', elastic: true },
    ],
    cycles.map(({ startedAt, status, durationMs, rowsLoaded, downloadedBytes, error }): Cell[] => [
      formatTime(startedAt),
      { text: status, tone: tones[status as keyof typeof tones] ?? 'dim' },
      durationMs === null ? null : formatSpan(durationMs),
      rowsLoaded,
      formatBytes(downloadedBytes),
      error && `${error.code}: ${firstLine(error.detail)}`,
    ]),
  );
}

import {
  type Answer,
  askService,
  type Cell,
  type CommandContext,
  DEVICE_STATES,
  exitCodeFor,
  type Finding,
  formatBytes,
  formatCount,
  formatSpan,
  formatTime,
  plural,
  refusalOf,
  renderFacts,
  renderVerdict,
  sendBy,
} from '@waypost/command-line';
import { WaypostError } from '@waypost/contracts';
import { assessFleet, type ServiceFacts, type StoreFacts } from '../read-models/assess-fleet.js';
import { type FleetFacts, readFleet } from '../read-models/fleet.js';
import { askFleet, type FleetAnswer } from '../read-models/fleet-answer.js';
import { fleetData } from '../read-models/fleet-report.js';
import { deviceTable } from './devices.js';
import { folderOf } from './snapshot-folder.js';
import { thresholdsOf } from './thresholds.js';

const DEFAULT_PORT = '8080';

/** `waypost status` of central: the fleet from its database, or from the service for who shows a key, the service from its /health, the store where it is given. */
export async function status(context: CommandContext): Promise<Answer> {
  const { service, told } = await askRunning(context);
  const fleet = context.hasDatabase ? await readFleet(context.database.query, thresholdsOf(context)) : null;
  const storeUrl = context.env['SNAPSHOT_STORE'];
  const store = storeUrl ? await (await import('../read-models/measure-store.js')).measureStore(folderOf(storeUrl)) : null;
  const findings = [...assessFleet(fleet, service, store), ...(told?.findings ?? [])];
  return {
    data: {
      ...told,
      side: 'central',
      ok: exitCodeFor(findings) === 0,
      findings,
      database: fleet ? context.database.address : null,
      service,
      store,
      ...(fleet && fleetData(fleet)),
    },
    text: textOf(context, { service, fleet, told, store, findings }),
    exitCode: exitCodeFor(findings),
  };
}

/** The service is asked where its address is given, or where this is its own environment (SYNC_PLAN is set, as in its container). */
async function askRunning(context: CommandContext): Promise<{ service: ServiceFacts | null; told?: FleetAnswer | undefined }> {
  const scheme = context.env['TLS_CERT'] ? 'https' : 'http';
  const own = context.env['SYNC_PLAN'] ? `${scheme}://127.0.0.1:${context.env['PORT'] || DEFAULT_PORT}` : undefined;
  const url = context.option('url') ?? own;
  if (url === undefined) return { service: null };
  try {
    const apiKey = await context.apiKey(url);
    // The certificate is for the names that devices use, not for 127.0.0.1.
    const send = sendBy(context.wasGiven('url') ? { ca: await context.authorities(), apiKey } : { skipsCertificate: true, apiKey });
    const answer = await askService(url, '/health', '--url', send);
    const refusal = refusalOf(answer);
    if (refusal) throw refusal;
    const { ok, body } = answer;
    const told = apiKey === undefined || context.hasDatabase ? undefined : await askFleet(url, send);
    return { service: { url, answers: true, healthy: ok, problems: ok ? [] : problemsOf(body) }, told };
  } catch (error) {
    if (!(error instanceof WaypostError) || error.code !== 'CENTRAL_UNREACHABLE' || !context.hasDatabase) throw error;
    return { service: { url, answers: false, reason: error.message } };
  }
}

/** The checks of /health that are down, with their messages. */
function problemsOf(body: unknown): string[] {
  const checks = (body as { error?: Record<string, { message?: string; status?: string }> } | undefined)?.error ?? {};
  return Object.entries(checks).map(([name, { message, status }]) => `${name}: ${message ?? status ?? 'down'}`);
}

interface Shown {
  service: ServiceFacts | null;
  /** From the database. */
  fleet: FleetFacts | null;
  /** By the service. */
  told: FleetAnswer | undefined;
  store: StoreFacts | null;
  findings: readonly Finding[];
}

function textOf(context: CommandContext, { service, fleet, told, store, findings }: Shown): string {
  const known = fleet ?? told;
  const total = known ? Object.values(known.devices).reduce((sum, count) => sum + count, 0) : 0;
  const good = known ? `${plural(known.devices.fresh, 'device')} of ${formatCount(total)} fresh.` : 'The service is ready.';
  const facts: [string, string][] = [['service', serviceLine(service)]];
  if (fleet) facts.unshift(['database', context.database.address]);
  if (known) {
    const { devices, epoch, sequence, liveManifests, lastRequestAgeMs } = known;
    facts.push(['devices', DEVICE_STATES.map((state) => `${state} ${formatCount(devices[state])}`).join('  ')]);
    facts.push(['last request', lastRequestAgeMs === null ? 'never' : `${formatSpan(lastRequestAgeMs)} ago`]);
    facts.push(['sequence', `${sequence} of epoch ${epoch ?? '(none yet)'}, ${plural(liveManifests, 'live manifest')}`]);
  }
  facts.push(['store', storeLine(store)]);
  return [
    renderVerdict(context, good, findings),
    '',
    renderFacts(facts, context.paint),
    ...(fleet && fleet.worst.length > 0 ? ['', deviceTable(context, fleet.worst)] : []),
    ...(known ? ['', requestTable(context, known)] : []),
  ].join('\n');
}

function serviceLine(service: ServiceFacts | null): string {
  if (!service) return 'not asked: give --url http://<central>:8080';
  if (!service.answers) return `${service.url} does not answer`;
  return `${service.url} ${service.healthy ? 'is ready' : 'is not ready'}`;
}

function storeLine(store: StoreFacts | null): string {
  if (!store) return 'not measured: set SNAPSHOT_STORE as central has it';
  const free = store.freeBytes === null ? '' : `, ${formatBytes(store.freeBytes)} free`;
  return `${formatBytes(store.bytes)} in ${store.folder}${free}`;
}

function requestTable(context: CommandContext, { lastRequests }: Pick<FleetFacts, 'lastRequests'>): string {
  if (lastRequests.length === 0) return context.paint('dim', 'No request yet.');
  return context.table(
    [
      { title: 'last requests' },
      { title: 'device' },
      { title: 'what' },
      { title: 'outcome' },
      { title: 'took', align: 'right' },
      { title: 'reason', elastic: true },
    ],
    lastRequests.map(({ at, mac, operation, status, reason, durationMs }): Cell[] => [
      formatTime(at),
      mac,
      operation,
      { text: status, tone: status === 'Issued' ? 'good' : 'bad' },
      formatSpan(durationMs),
      reason,
    ]),
  );
}

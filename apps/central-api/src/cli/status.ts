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
  renderFacts,
  renderVerdict,
  type Send,
} from '@waypost/command-line';
import { WaypostError } from '@waypost/contracts';
import { assessFleet, type ServiceFacts, type StoreFacts } from '../read-models/assess-fleet.js';
import { type FleetFacts, readFleet } from '../read-models/fleet.js';
import { fleetData } from '../read-models/fleet-report.js';
import { deviceTable } from './devices.js';
import { folderOf } from './snapshot-folder.js';
import { thresholdsOf } from './thresholds.js';

const DEFAULT_PORT = '8080';

/** `waypost status` of central: the fleet from its database, the service from its /health, the store where it is given. */
export async function status(context: CommandContext): Promise<Answer> {
  const service = await askRunning(context);
  const fleet = context.hasDatabase ? await readFleet(context.database.query, thresholdsOf(context)) : null;
  const storeUrl = context.env['SNAPSHOT_STORE'];
  const store = storeUrl ? await (await import('../read-models/measure-store.js')).measureStore(folderOf(storeUrl)) : null;
  const findings = assessFleet(fleet, service, store);
  return {
    data: {
      side: 'central',
      ok: exitCodeFor(findings) === 0,
      findings,
      database: fleet ? context.database.address : null,
      service,
      store,
      ...(fleet && fleetData(fleet)),
    },
    text: textOf(context, { service, fleet, store, findings }),
    exitCode: exitCodeFor(findings),
  };
}

/** The service is asked where its address is given, or where this is its own environment (SYNC_PLAN is set, as in its container). */
async function askRunning(context: CommandContext): Promise<ServiceFacts | null> {
  const scheme = context.env['TLS_CERT'] ? 'https' : 'http';
  const own = context.env['SYNC_PLAN'] ? `${scheme}://127.0.0.1:${context.env['PORT'] || DEFAULT_PORT}` : undefined;
  const url = context.option('url') ?? own;
  if (url === undefined) return null;
  try {
    const send = context.wasGiven('url') ? undefined : await sendHere(scheme);
    const { ok, body } = await askService(url, '/health', '--url', send);
    return { url, answers: true, healthy: ok, problems: ok ? [] : problemsOf(body) };
  } catch (error) {
    if (!(error instanceof WaypostError) || error.code !== 'CENTRAL_UNREACHABLE' || !context.hasDatabase) throw error;
    return { url, answers: false, reason: error.message };
  }
}

/** To this machine. The certificate is for the names that devices use, not for 127.0.0.1: it is not checked. */
async function sendHere(scheme: 'http' | 'https'): Promise<Send | undefined> {
  if (scheme === 'http') return undefined;
  const { Agent, fetch } = await import('undici');
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false } });
  return (target, init) => fetch(target, { ...init, dispatcher });
}

/** The checks of /health that are down, with their messages. */
function problemsOf(body: unknown): string[] {
  const checks = (body as { error?: Record<string, { message?: string; status?: string }> } | undefined)?.error ?? {};
  return Object.entries(checks).map(([name, { message, status }]) => `${name}: ${message ?? status ?? 'down'}`);
}

interface Shown {
  service: ServiceFacts | null;
  fleet: FleetFacts | null;
  store: StoreFacts | null;
  findings: readonly Finding[];
}

function textOf(context: CommandContext, { service, fleet, store, findings }: Shown): string {
  const total = fleet ? Object.values(fleet.devices).reduce((sum, count) => sum + count, 0) : 0;
  const good = fleet ? `${plural(fleet.devices.fresh, 'device')} of ${formatCount(total)} fresh.` : 'The service is ready.';
  const facts: [string, string][] = [['service', serviceLine(service)]];
  if (fleet) {
    const { epoch, sequence, liveManifests, lastRequestAgeMs } = fleet;
    facts.unshift(['database', context.database.address]);
    facts.push(['devices', DEVICE_STATES.map((state) => `${state} ${formatCount(fleet.devices[state])}`).join('  ')]);
    facts.push(['last request', lastRequestAgeMs === null ? 'never' : `${formatSpan(lastRequestAgeMs)} ago`]);
    facts.push(['sequence', `${sequence} of epoch ${epoch ?? '(none yet)'}, ${plural(liveManifests, 'live manifest')}`]);
  }
  facts.push(['store', storeLine(store)]);
  return [
    renderVerdict(context, good, findings),
    '',
    renderFacts(facts, context.paint),
    ...(fleet && fleet.worst.length > 0 ? ['', deviceTable(context, fleet.worst)] : []),
    ...(fleet ? ['', requestTable(context, fleet)] : []),
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

function requestTable(context: CommandContext, { lastRequests }: FleetFacts): string {
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

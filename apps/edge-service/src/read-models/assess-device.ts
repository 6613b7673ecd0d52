import { type Finding, formatSpan, plural } from '@waypost/command-line';
import { ERROR_KINDS, type ErrorCode } from '@waypost/contracts';
import type { DeviceStatus, ServiceFacts } from './device-status.js';

/** Failures in a row from which on they count as persistent; the alarm of the same name fires there too. */
const REPEATED = 3;
/** As /health counts: cycles that may be missed before the data is stale. */
const STALE_INTERVALS = 3;
const MIN_STALE_MS = 60_000;
const DEFAULT_INTERVAL_MS = 5 * 60_000;

/** What is wrong with a device, and what to do about it. */
export function assessDevice(facts: DeviceStatus, service: ServiceFacts | null): Finding[] {
  const findings: Finding[] = [];
  const { verified, consecutiveFailures, cycles } = facts;
  const error = cycles.find(({ status }) => status !== 'Running')?.error ?? null;
  const alert = service?.answers ? service.alert : null;
  if (service?.answers === false) {
    findings.push({
      severity: 'bad',
      what: `edge-service does not answer at ${service.url} (${service.reason})`,
      next: 'Start it, or read the end of its log: it says in one line why it could not start.',
    });
  }
  if (!verified) {
    findings.push({
      severity: 'bad',
      what: 'Nothing was ever loaded and verified: local services have no data.',
      next: error ? nextOf(error) : 'Start edge-service, or trigger a cycle: curl -X POST http://<edge>:8081/api/sync/now',
    });
  } else {
    const staleMs = staleAfterMs(service);
    if (staleMs !== undefined && verified.ageMs > staleMs) {
      findings.push({
        severity: 'bad',
        what: `The verified state is ${formatSpan(verified.ageMs)} old; it should be younger than ${formatSpan(staleMs)}.`,
        next:
          error && consecutiveFailures > 0
            ? nextOf(error)
            : 'Look whether edge-service runs, and whether its SYNC_INTERVAL is meant to be so long.',
      });
    }
  }
  if (consecutiveFailures > 0 && error) {
    findings.push({
      severity: consecutiveFailures >= REPEATED || isUrgent(error.code) ? 'bad' : 'warn',
      what: `${consecutiveFailures === 1 ? 'The last cycle' : `The last ${consecutiveFailures} cycles`} failed: ${error.code}: ${firstLine(error.detail)}`,
      next: nextOf(error),
    });
  }
  if (alert && alert.code !== error?.code) {
    findings.push({ severity: 'bad', what: `Alert: ${alert.code}: ${firstLine(alert.detail)}`, next: alert.hint });
  }
  if (service?.answers && service.breaker !== 'closed') {
    findings.push({
      severity: 'warn',
      what: `The circuit breaker is ${service.breaker}: central does not answer.`,
      next: 'Check CENTRAL_URL, the network and central’s /health; the device tries again by itself.',
    });
  }
  if ((facts.refusedAcks ?? 0) > 0) {
    findings.push({
      severity: 'bad',
      what: `Central refused ${plural(facts.refusedAcks ?? 0, 'acknowledgement')} for good.`,
      next: 'SELECT manifest_id, last_error FROM waypost.edge_acks WHERE refused_at IS NOT NULL says why.',
    });
  }
  if ((facts.pendingAcks ?? 0) > 0) {
    findings.push({
      severity: 'warn',
      what: `${plural(facts.pendingAcks ?? 0, 'acknowledgement')} not yet sent: central does not know what this device holds.`,
      next: 'They are sent with the next cycle that reaches central.',
    });
  }
  return findings;
}

/** Undefined where the device syncs on demand only. */
function staleAfterMs(service: ServiceFacts | null): number | undefined {
  const intervalMs = service?.answers ? service.intervalMs : DEFAULT_INTERVAL_MS;
  return intervalMs === 0 ? undefined : Math.max(STALE_INTERVALS * intervalMs, MIN_STALE_MS);
}

/** The log keeps the hint of the very error, which can say more than that of its code. */
function nextOf({ code, detail }: { code: string; detail: string }): string {
  const own = / Hint: (.+)$/s.exec(detail)?.[1];
  if (own) return own;
  return Object.hasOwn(ERROR_KINDS, code) ? ERROR_KINDS[code as ErrorCode].hint : 'The log of edge-service has the details.';
}

function isUrgent(code: string): boolean {
  return !Object.hasOwn(ERROR_KINDS, code) || ERROR_KINDS[code as ErrorCode].heals !== 'retry' || code === 'VERIFICATION_FAILED';
}

/** Without the hint, which is shown as the next step. */
export function firstLine(text: string): string {
  return (text.split('\n')[0] as string).replace(/ Hint: .*$/, '').slice(0, 300);
}

import { setTimeout as delay } from 'node:timers/promises';
import { WaypostError } from '@waypost/contracts';
import type { Logger } from 'pino';

/**
 * The moments at which tests make a service fail, in the order of the data's path. Each is exactly one line of code,
 * `await faultPoint('…')`; its text here is true when that line is reached.
 */
export const FAULT_POINTS = {
  'central.request-received': 'a request is understood, nothing was done for it yet',
  'central.scope-resolved': 'the snapshot transaction is open and knows what the device may see',
  'central.mid-build': 'frames of a table are about to be written',
  'central.pack-written': 'a pack is on disk, under a temporary name',
  'central.pack-stored': 'the pack has its name, the database does not know it',
  'central.pack-known': 'the database knows all chunks of a table, not that they are one',
  'central.snapshot-stored': 'a table is stored, no manifest names it yet',
  'central.manifest-written': 'the manifest is written, and not committed',
  'central.manifest-issued': 'the manifest is committed, no audit knows of it',
  'central.request-audited': 'the audit says Issued, the device has no answer yet',
  'central.mid-download': 'a chunk stream’s index has left, its frames have not',
  'central.chunks-matched': 'the list of what a device lacks of a table has left, its chunks have not',
  'central.ack-received': 'an acknowledgement is understood, and not stored',
  'central.ack-stored': 'the acknowledgement is committed, the device does not know',
  'central.enrollment-received': 'the proof of a key is checked, its enrollment token is not',
  'central.enrollment-stored': 'the key is committed, the device does not know',
  'central.token-renewed': 'the renewal is committed, the device has no token',
  'edge.cycle-begun': 'the audit says Running',
  'edge.request-answered': 'central’s answer is here, unread',
  'edge.manifest-checked': 'the manifest is accepted',
  'edge.chunks-received': 'checked chunks are about to be spooled',
  'edge.chunks-spooled': 'chunks are on disk',
  'edge.download-complete': 'all chunk streams are on disk',
  'edge.transaction-begun': 'the loading transaction is open',
  'edge.tables-prepared': 'tables are created, locked and ready to take rows',
  'edge.delta-spooled': 'a part of a delta is on disk',
  'edge.changes-opened': 'what changed in a table was compared with its rows, and is about to be staged',
  'edge.mid-copy': 'a chunk is about to be loaded',
  'edge.before-verify': 'all rows are loaded',
  'edge.mid-verify': 'some rows of a table are read back',
  'edge.before-commit': 'rows, state, audit and ack are written, and not committed',
  'edge.after-commit': 'all of it is committed, central does not know',
  'edge.ack-answered': 'central has the acknowledgement, the outbox still holds it',
  'edge.ack-removed': 'the outbox has let go of the acknowledgement',
  'edge.key-made': 'the private key is on disk, central does not know the public one',
  'edge.enrollment-answered': 'central has the key, the device has not noted it',
  'edge.identity-stored': 'the identity is on disk, and was not used',
  'edge.key-replaced': 'central has the new key, the device uses the old one',
  'edge.trust-received': 'a new trust document is checked, and not stored',
  'edge.trust-stored': 'a new trust document is on disk, no manifest was checked by it',
  'edge.token-received': 'an access token is here, its renewal is not stored',
} as const;

export type FaultPoint = keyof typeof FAULT_POINTS;

/** Where files are about to be written: a full disk can show itself here. */
const WRITES_FILES: ReadonlySet<FaultPoint> = new Set<FaultPoint>(['central.mid-build', 'central.pack-written', 'edge.chunks-received']);

const ACTIONS = ['kill', 'throw', 'stall', 'disk-full'] as const;
type Action = (typeof ACTIONS)[number];

interface Fault {
  point: FaultPoint;
  action: Action;
  /** The hit that it happens at, from 1; it happens once. */
  nth: number;
  /** Of a stall; without it a stall never ends. */
  stallMs: number | undefined;
  hits: number;
}

interface Armed {
  faults: readonly Fault[];
  logger: Logger;
}

/** Undefined unless a test has armed this process. */
let armed: Armed | undefined;

/** Fails as armed by a test; else costs one comparison. */
export function faultPoint(point: FaultPoint): Promise<void> | undefined {
  return armed === undefined ? undefined : reach(point, armed);
}

/**
 * Arms what `WAYPOST_FAULTS` says: `name:action[@nth hit][:milliseconds]`, separated by commas, for instance
 * `edge.before-commit:kill,central.mid-download:stall@2:500`. Actions: `kill` (SIGKILL to itself), `throw` (FAULT_INJECTED), `stall` (for so
 * long, or until killed) and `disk-full` (ENOSPC, only where files are written). Both services know all names; each reaches only its own.
 * @throws WaypostError CONFIG_INVALID that names all that is wrong; always in production
 */
export function armFaults(env: NodeJS.ProcessEnv, logger: Logger): void {
  const text = env['WAYPOST_FAULTS'] ?? '';
  armed = undefined;
  if (text === '') return;
  const problems: string[] = [];
  if (env['NODE_ENV'] === 'production') problems.push('is for tests and refused with NODE_ENV=production');
  const faults = text.split(',').flatMap((entry) => {
    const fault = parseFault(entry.trim());
    if (typeof fault !== 'string') return [fault];
    problems.push(`"${entry.trim()}": ${fault}`);
    return [];
  });
  if (problems.length > 0) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: `WAYPOST_FAULTS ${problems.join('; ')}`,
      hint: `Remove WAYPOST_FAULTS, or write name:action[@nth hit][:milliseconds]. Names: ${Object.keys(FAULT_POINTS).join(', ')}. Actions: ${ACTIONS.join(', ')}.`,
    });
  }
  logger.warn({ faults: text }, 'fault points are armed: this service fails on purpose');
  armed = { faults, logger };
}

/** @returns the fault, or what is wrong with its description */
function parseFault(entry: string): Fault | string {
  const [, point, action, nth = '1', ms] = /^([^:@]*):([^:@]*)(?:@([1-9]\d{0,8}))?(?::(\d{1,9}))?$/.exec(entry) ?? [];
  if (point === undefined) return 'must be name:action[@nth hit][:milliseconds]';
  if (!isPoint(point)) return `there is no fault point ${point}`;
  if (!isAction(action)) return `there is no action ${action}`;
  if (action === 'disk-full' && !WRITES_FILES.has(point)) return `no file is written at ${point}`;
  if (ms !== undefined && action !== 'stall') return 'only a stall takes milliseconds';
  return { point, action, nth: Number(nth), stallMs: ms === undefined ? undefined : Number(ms), hits: 0 };
}

async function reach(point: FaultPoint, { faults, logger }: Armed): Promise<void> {
  for (const fault of faults) {
    if (fault.point !== point || ++fault.hits !== fault.nth) continue;
    logger.warn({ point, action: fault.action, hit: fault.nth }, 'fault point reached');
    await fail(fault);
  }
}

async function fail({ point, action, stallMs }: Fault): Promise<void> {
  if (action === 'kill') process.kill(process.pid, 'SIGKILL');
  if (action === 'throw') throw new WaypostError('FAULT_INJECTED', { detail: `A test armed the fault point ${point}.` });
  if (action === 'disk-full') throw diskFull(point);
  // Also after a kill: no further statement may run.
  await (stallMs === undefined ? new Promise<never>(() => undefined) : delay(stallMs));
}

/** As node:fs throws it. */
function diskFull(point: FaultPoint): Error {
  return Object.assign(new Error(`ENOSPC: no space left on device, armed at ${point}`), { code: 'ENOSPC', errno: -28, syscall: 'write' });
}

function isPoint(name: string): name is FaultPoint {
  return Object.hasOwn(FAULT_POINTS, name);
}

function isAction(name: string | undefined): name is Action {
  return (ACTIONS as readonly (string | undefined)[]).includes(name);
}

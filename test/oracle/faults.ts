import { FAULT_POINTS } from '@waypost/runtime';
import type { Random } from '../../scripts/fleet/random.js';
import type { Fault, Operation } from '../support/hostile-proxy.js';
import type { Side } from '../support/image-roles.js';

const OPERATIONS: readonly Operation[] = ['request', 'download', 'ack'];
/** At one of the first hits, so that most processes live to meet it. */
const MAX_HIT = 5;

/** WAYPOST_FAULTS of a process: none, or one fault that it meets once. */
export function randomFaultPoint(random: Random, side: Side): string {
  if (random.chance(0.4)) return '';
  const point = random.pick(Object.keys(FAULT_POINTS).filter((name) => name.startsWith(`${side}.`)));
  const [action, end = ''] = random.pick([['kill'], ['kill'], ['kill'], ['throw'], ['stall', ':300']] as const);
  return `${point}:${action}@${1 + random.below(MAX_HIT)}${end}`;
}

/** What the network does to one kind of operation throughout a cycle: most often the answer is lost, after central has done its part. */
export function randomLoss(random: Random): { operation: Operation; fault: Fault } {
  const fault = random.pick<Fault>([
    { kind: 'cut', afterBytes: 0 },
    { kind: 'cut', afterBytes: 0 },
    { kind: 'cut', afterBytes: 200 + random.below(5000) },
    { kind: 'refuse' },
    { kind: 'duplicate' },
    { kind: 'flip', of: 'answer', at: 300 + random.below(3000) },
  ]);
  return { operation: random.pick(OPERATIONS), fault };
}

import { setTimeout as delay } from 'node:timers/promises';
import { FAULT_POINTS, type FaultPoint } from '@waypost/runtime';
import type { Random } from '../../scripts/fleet/random.js';
import type { Side } from '../support/image-roles.js';
import type { Pair } from '../support/pair.js';

/** Longer than a cycle takes on a quiet machine, so that some troubles come after it. */
const WITHIN_MS = 700;

export interface Trouble {
  /** For the report; begins with its kind. */
  name: string;
  /** Runs one cycle with the trouble in it. Both services run when it ends, and nothing is armed. */
  run: (pair: Pair) => Promise<void>;
}

type Kind = (random: Random) => Trouble;

const nothing: Kind = () => ({ name: 'nothing', run: async (pair) => void (await pair.sync()) });

const armedPoint: Kind = (random) => {
  const point = random.pick(Object.keys(FAULT_POINTS) as FaultPoint[]);
  const action = random.pick(
    point === 'edge.chunks-received' || point === 'central.mid-build' ? ['kill', 'disk-full'] : ['kill', 'throw', 'stall'],
  );
  const fault = `${point}:${action}@${1 + random.below(3)}`;
  return {
    name: `fault point ${fault}`,
    run: async (pair) => {
      const side = point.split('.')[0] as Side;
      await pair.startService(side, fault);
      const armed = pair.services[side];
      const cycle = pair.sync();
      // A stall ends only with its process.
      await Promise.race([armed.gone, action === 'stall' ? armed.reached(point) : cycle, cycle]);
      await pair.startService(side);
      await cycle;
    },
  };
};

const sigkill: Kind = (random) => {
  const side = randomSide(random);
  return duringCycle(random, `SIGKILL ${side}`, (pair) => pair.startService(side));
};

const sigterm: Kind = (random) => {
  const side = randomSide(random);
  return duringCycle(random, `SIGTERM ${side}`, async (pair) => {
    await pair.services[side].end('SIGTERM');
    await pair.startService(side);
  });
};

const bothDie: Kind = (random) =>
  duringCycle(random, 'SIGKILL both', async (pair) => {
    await pair.startService('central');
    await pair.startService('edge');
  });

const TERMINATE = `
  SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE datname = current_database() AND application_name LIKE 'waypost%' AND backend_type = 'client backend'`;

const terminatedConnections: Kind = (random) => {
  const side = randomSide(random);
  return duringCycle(random, `terminated connections ${side}`, async (pair) => void (await pair.pools[side].query(TERMINATE)));
};

/** How often each is drawn, by repetition. */
const KINDS: readonly Kind[] = [
  nothing,
  ...Array<Kind>(4).fill(armedPoint),
  sigkill,
  sigkill,
  sigterm,
  bothDie,
  terminatedConnections,
  terminatedConnections,
];

export function randomTrouble(random: Random): Trouble {
  return random.pick(KINDS)(random);
}

function duringCycle(random: Random, name: string, strike: (pair: Pair) => Promise<void>): Trouble {
  const afterMs = random.below(WITHIN_MS);
  return {
    name: `${name} after ${afterMs} ms`,
    run: async (pair) => {
      const cycle = pair.sync();
      await delay(afterMs);
      await strike(pair);
      await cycle;
    },
  };
}

function randomSide(random: Random): Side {
  return random.pick(['central', 'edge'] as const);
}

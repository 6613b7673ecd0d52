import { setTimeout as delay } from 'node:timers/promises';
import type { FaultPoint } from '@waypost/runtime';
import type { Side } from './image-roles.js';
import { Pair } from './pair.js';
import { startTestServer } from './postgres.js';
import { changeAll, changeOne, CREATE_STATIONS, SITE_ID, STATION_TABLES } from './stations.js';

export interface Fault {
  point: FaultPoint;
  action: 'kill' | 'throw' | 'stall' | 'disk-full';
}

/** A process's end, or its last line, may be heard of a little after the answer to the cycle that broke. */
const SIGN_MS = 2000;

/** Reached only where a table comes whole, as to a device whose database has no list of its chunks yet. */
const OF_WHOLE_TABLES: readonly FaultPoint[] = ['central.mid-download', 'edge.chunks-received', 'edge.chunks-spooled', 'edge.mid-copy'];

/** Reached only where central has lost what a device holds, of a table that has hardly changed. */
const OF_LOST_BASES: readonly FaultPoint[] = ['central.chunks-matched'];

/** Reached only where what differs of a table comes alone, and is merged: with LOAD_STRATEGY=truncate tables come whole. */
export const OF_DIFFERENCES: readonly FaultPoint[] = ['central.chunks-matched', 'edge.delta-spooled', 'edge.changes-opened'];

/** Reached only where a device enrolls, or shows an access token: test/enrollment.pg.test.ts walks them. */
export const OF_ENROLLMENT: readonly FaultPoint[] = [
  'central.enrollment-received',
  'central.enrollment-stored',
  'central.token-renewed',
  'edge.key-made',
  'edge.enrollment-answered',
  'edge.identity-stored',
  'edge.token-received',
];

/** On the way of a key that replaces another. */
export const OF_ROTATION: readonly FaultPoint[] = [
  'central.enrollment-received',
  'central.enrollment-stored',
  'central.token-renewed',
  'edge.key-replaced',
  'edge.token-received',
];

/** Reached only where central has a new trust document: test/trust.pg.test.ts walks them. */
export const OF_TRUST: readonly FaultPoint[] = ['edge.trust-received', 'edge.trust-stored'];

const STRATEGY = process.env['TEST_LOAD_STRATEGY'] ?? 'auto';

/** Whether a walk comes to it, as TEST_LOAD_STRATEGY says. */
export function isOnTheWay(point: FaultPoint): boolean {
  return ![...OF_ENROLLMENT, ...OF_ROTATION, ...OF_TRUST].includes(point) && (STRATEGY !== 'truncate' || !OF_DIFFERENCES.includes(point));
}

/** Where the first hit would come before there is anything half done. */
const NTH: Partial<Record<FaultPoint, number>> = { 'central.mid-build': 2, 'edge.chunks-spooled': 2, 'edge.mid-copy': 3 };

/** One pair of services and databases for a walk over fault points, with a reader on the device who never looks away. */
export class FaultBench implements AsyncDisposable {
  private generation = 0;

  private constructor(
    private readonly pair: Pair,
    private readonly stack: AsyncDisposableStack,
  ) {}

  /** @param strategy LOAD_STRATEGY of the edges; by default TEST_LOAD_STRATEGY */
  static async start(strategy = STRATEGY): Promise<FaultBench> {
    await using stack = new AsyncDisposableStack();
    const server = stack.use(await startTestServer());
    const edgeEnv = { LOAD_STRATEGY: strategy };
    const pair = stack.use(await Pair.start(server, { schema: CREATE_STATIONS, tables: STATION_TABLES, siteId: SITE_ID, edgeEnv }));
    await pair.sync();
    pair.history.watch(strategy === 'truncate');
    return new FaultBench(pair, stack.move());
  }

  /**
   * Changes central's rows, runs a cycle with the fault in it, and restarts what died of it.
   * @returns what is wrong when healing had its time
   */
  async survive({ point, action }: Fault): Promise<string[]> {
    const { pair } = this;
    const side = point.split('.')[0] as Side;
    this.generation += 1;
    const hasLost = OF_LOST_BASES.includes(point);
    await pair.history.change(hasLost ? changeOne(this.generation) : changeAll(this.generation));
    if (OF_WHOLE_TABLES.includes(point)) await pair.forgetChunks();
    if (hasLost) await pair.loseContents();
    await pair.startService(side, `${point}:${action}@${NTH[point] ?? 1}`);
    const armed = pair.services[side];
    const cycle = pair.sync();
    // What is killed has no time to say so.
    const reached = (action === 'kill' ? armed.gone : armed.reached(point)).then(() => true);
    const missed = cycle.then(() => delay(SIGN_MS, false, { ref: false }));
    if (!(await Promise.race([reached, missed]))) return [`the cycle ended without ${point}: ${JSON.stringify(await cycle)}`];
    if (action === 'kill' || action === 'stall') await pair.startService(side);
    await cycle;
    const { problems } = await pair.heal();
    pair.history.check();
    return problems;
  }

  /** Ends the reader. @throws Error with the first state that was not one of central's */
  async expectWholeStates(): Promise<void> {
    await this.pair.history.stop();
    if (this.pair.history.looks < 10) throw new Error(`The reader looked only ${this.pair.history.looks} times.`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pair.history.stop().catch(() => undefined);
    await this.stack.disposeAsync();
  }
}

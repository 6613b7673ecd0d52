import { setTimeout as delay } from 'node:timers/promises';
import { Random } from '../../scripts/fleet/random.js';
import type { Device } from './device.js';
import { randomLoss } from './faults.js';
import { type FleetBench, startFleet } from './fleet-bench.js';
import { pruneHistory } from './history.js';
import { Judge } from './judge.js';
import { DeviceProblem, JudgedCycles } from './judged-cycles.js';
import { randomMutation } from './mutations.js';
import { Tally } from './tally.js';
import { Writers } from './writers.js';

export interface OracleOptions {
  seed: number;
  devices: number;
  /** Statements on central's tables. */
  mutations: number;
  /** Gets a text now and then. */
  say: (text: string) => void;
}

const WRITERS = 4;
const CYCLES_AT_ONCE = 3;
/** After so many steps everything comes to rest, and all devices must be equal. */
const STEPS_TO_REST = 200;
const HEAL_MS = 120_000;
const SAY_MS = 30_000;
const STEPS_SHOWN = 12;
const LOG_LINES_SHOWN = 15;
const LOG_LINE_CHARS = 600;
/** Of all steps; the rest are mutations. */
const [CYCLES, KILLS] = [0.25, 0.02];

/**
 * Random fleets, plans, mutations and faults from one seed. After each cycle, whatever became of it, the device's tables are judged: after a success they
 * must be its share at the manifest's snapshot, else that or what they were before. When all is at rest, every device must hold its share of now. So a row
 * that left a share is gone, and no two devices hold a row that only one of them may see.
 */
export class Oracle implements AsyncDisposable {
  private readonly inProgress = new Map<Device, Promise<void>>();
  private readonly steps: string[] = [];
  private readonly startedAt = performance.now();
  private saidAt = this.startedAt;
  private failure: Error | undefined;
  private stepNumber = 0;
  private cycleNumber = 0;
  private mutationNumber = 0;

  private constructor(
    private readonly options: OracleOptions,
    private readonly bench: FleetBench,
    private readonly writers: Writers,
    private readonly judge: Judge,
    readonly cycles: JudgedCycles,
    private readonly tally: Tally,
    private readonly stack: AsyncDisposableStack,
  ) {}

  static async start(options: OracleOptions): Promise<Oracle> {
    const { seed, devices, say } = options;
    await using stack = new AsyncDisposableStack();
    const bench = stack.use(await startFleet(seed, devices));
    say(`seed ${seed}, ${devices} devices, ${bench.fleet.description}`);
    const tally = new Tally();
    const writers = stack.use(await Writers.connect(bench.centralUrl, WRITERS, new Random(seed, 'writers'), tally));
    const judge = new Judge(bench.fleet, bench.pool);
    return new Oracle(options, bench, writers, judge, new JudgedCycles(judge, bench.central), tally, stack.move());
  }

  /** @throws Error that names the seed, the step, the device, the table and the rows, and the command that repeats it */
  async run(): Promise<void> {
    const random = new Random(this.options.seed, 'schedule');
    try {
      await this.rest();
      await this.bench.central.kill(); // its first process has no fault point
      while (this.mutationNumber < this.options.mutations) {
        this.stepNumber += 1;
        await this.step(random);
        if (this.failure) throw this.failure;
        if (this.stepNumber % STEPS_TO_REST === 0) await this.rest();
        if (performance.now() - this.saidAt > SAY_MS) this.sayProgress();
      }
      await this.rest();
    } catch (error) {
      throw new Error(this.report(error), { cause: error });
    }
  }

  summary(): string {
    const seconds = Math.round((performance.now() - this.startedAt) / 1000);
    const { comparisons, rowsCompared, notJudged } = this.cycles;
    const { central, devices } = this.bench;
    const edgeDeaths = devices.reduce((sum, { edge }) => sum + edge.lives - 1, 0);
    return [
      `${seconds} s, ${this.stepNumber} steps, ${comparisons} comparisons of ${rowsCompared} rows, ${notJudged} successes not judged`,
      `  ${central.lives + edgeDeaths - 1} deaths: central ${central.lives - 1}, edges ${edgeDeaths}`,
      ...this.tally.lines(),
    ].join('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.inProgress.values());
    await this.stack.disposeAsync();
  }

  private async step(random: Random): Promise<void> {
    const way = random.fraction();
    if (way < CYCLES) return this.startCycle(random.pick(this.bench.devices), random.chance(0.8));
    if (way < CYCLES + KILLS) return this.kill(random);
    this.mutationNumber += 1;
    const mutation = randomMutation(this.bench.fleet, random, this.mutationNumber);
    this.note(mutation.kind);
    await this.writers.step(mutation);
  }

  /** Goes on while the cycle runs. A device runs one at a time. */
  private async startCycle(device: Device, awaitsCentral: boolean): Promise<void> {
    if (awaitsCentral) await this.bench.central.ready();
    await this.inProgress.get(device);
    while (this.inProgress.size >= CYCLES_AT_ONCE) await Promise.race(this.inProgress.values());
    this.note(`${device.mac} syncs`);
    const cycle = this.cycle(device)
      .catch((error: Error) => void (this.failure ??= error))
      .finally(() => this.inProgress.delete(device));
    this.inProgress.set(device, cycle);
  }

  private async cycle(device: Device): Promise<void> {
    this.cycleNumber += 1;
    const random = new Random(this.options.seed, `cycle ${this.cycleNumber}`);
    const loss = random.chance(0.25) ? randomLoss(random) : undefined;
    if (loss) {
      this.tally.add('network', `${loss.operation} ${loss.fault.kind}`);
      device.network.faults.set(loss.operation, loss.fault);
    }
    await this.sync(device, loss !== undefined);
    device.network.faults.clear();
  }

  private async sync(device: Device, isHindered: boolean): Promise<void> {
    const answer = await this.cycles.sync(device, isHindered);
    this.tally.add('cycles', answer?.code ?? String(answer?.status ?? 'edge killed'));
  }

  private async kill(random: Random): Promise<void> {
    const { central, devices } = this.bench;
    const isCentral = random.chance(0.4);
    const device = random.pick(devices);
    this.note(`SIGKILL ${isCentral ? 'central' : device.mac}`);
    this.tally.add('killed', isCentral ? 'central' : 'edge');
    await (isCentral ? central : device.edge).kill();
  }

  /** Ends all that is open, lets every device sync, and compares with the tables themselves. */
  private async rest(): Promise<void> {
    const { arm, devices, fleet, pool } = this.bench;
    await Promise.all(this.inProgress.values());
    if (this.failure) throw this.failure;
    await this.writers.finish();
    arm.isOn = false;
    const waiting = [...devices];
    const healNext = async (): Promise<void> => {
      for (let device = waiting.shift(); device; device = waiting.shift()) await this.heal(device);
    };
    await Promise.all(Array.from({ length: CYCLES_AT_ONCE }, healNext));
    const wrong = await this.judge.wrongHistory();
    if (wrong.length > 0) throw new Error(`the history of ${wrong.join(', ')} is wrong: a defect of the test`);
    await pool.query(pruneHistory(fleet.tables));
    arm.isOn = true;
  }

  private async heal(device: Device): Promise<void> {
    for (const deadline = performance.now() + HEAL_MS; ; await delay(100)) {
      await this.sync(device, false);
      if (!device.isTroubled) return this.cycles.expectShare(device, 'now');
      if (performance.now() > deadline) throw new DeviceProblem(device, 'it does not heal');
    }
  }

  private note(step: string): void {
    this.steps.push(`${this.stepNumber}. ${step}`);
    if (this.steps.length > STEPS_SHOWN) this.steps.shift();
  }

  private sayProgress(): void {
    this.saidAt = performance.now();
    this.options.say(this.summary());
  }

  private report(error: unknown): string {
    const { seed, devices, mutations } = this.options;
    const isOwn = (line: string): boolean => !line.includes('"context"'); // Nest tells of each of its modules
    const tail = (log: readonly string[]): string =>
      log
        .filter(isOwn)
        .slice(-LOG_LINES_SHOWN)
        .map((line) => line.slice(0, LOG_LINE_CHARS))
        .join('\n');
    return [
      `Seed ${seed}, step ${this.stepNumber}: ${error instanceof Error ? error.message : String(error)}`,
      `Again: npm run test:oracle -- --devices ${devices} --mutations ${mutations} --seed ${seed}`,
      `The last steps:\n${this.steps.join('\n')}`,
      this.bench.fleet.description,
      `central:\n${tail(this.bench.central.log)}`,
      ...(error instanceof DeviceProblem ? [`edge:\n${tail(error.device.edge.log)}`] : []),
    ].join('\n\n');
  }
}

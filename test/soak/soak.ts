import { setTimeout as delay } from 'node:timers/promises';
import { Random } from '../../scripts/fleet/random.js';
import { Pair } from '../support/pair.js';
import { startTestServer } from '../support/postgres.js';
import { CREATE_STATIONS, SITE_ID, STATION_TABLES } from '../support/stations.js';
import { randomChange } from './changes.js';
import { randomTrouble } from './troubles.js';

/**
 * Changes, faults and restarts at random, from a seed, for as long as it is told: after each trouble the device must be equal again within two
 * cycles, and at each moment its readers see a whole state. The seed gives the same steps; when a signal strikes is up to the machine.
 */

const MINUTES = Number(process.env['SOAK_MINUTES']);
const SEED = Number(process.env['SOAK_SEED']);
const STRATEGY = process.env['TEST_LOAD_STRATEGY'] ?? 'auto';
/** A step that takes longer has got stuck. */
const STEP_MS = 180_000;
const STEPS_SHOWN = 12;
const LOG_LINES_SHOWN = 25;

const say = (line: string): void => void process.stderr.write(`soak: ${line}\n`);

test(
  `${MINUTES} minutes from seed ${SEED}`,
  async () => {
    await using server = await startTestServer();
    await using pair = await Pair.start(server, {
      schema: CREATE_STATIONS,
      tables: STATION_TABLES,
      siteId: SITE_ID,
      centralEnv: { MANIFEST_TTL: '2m' }, // manifests expire during the run, and the store does not grow with it
      edgeEnv: { LOAD_STRATEGY: STRATEGY },
    });
    const soak = new Soak(pair);
    const endsAt = performance.now() + MINUTES * 60_000;
    say(`seed ${SEED}, ${MINUTES} min, LOAD_STRATEGY=${STRATEGY}`);
    while (performance.now() < endsAt) await soak.step();
    await pair.history.stop();
    say(soak.summary());
  },
  MINUTES * 60_000 + 2 * STEP_MS,
);

class Soak {
  private readonly random = new Random(SEED, 'soak');
  private readonly steps: string[] = [];
  private readonly troubles = new Map<string, number>();
  private readonly startedAt = performance.now();
  private saidAt = this.startedAt;
  private changes = 0;
  /** By the number of cycles that healing took. */
  private readonly healings = new Map<number, number>();

  constructor(private readonly pair: Pair) {}

  /** @throws Error with the seed, the last steps and both logs when something does not hold */
  async step(): Promise<void> {
    const stuck = delay(STEP_MS, ['the step got stuck'], { ref: false });
    const problems = await Promise.race([this.tryStep(), stuck]).catch((error: unknown) => [String(error)]);
    if (problems.length > 0) throw new Error(this.report(problems));
    if (this.steps.length === 1) this.pair.history.watch(STRATEGY === 'truncate');
    if (performance.now() - this.saidAt < 60_000) return;
    this.saidAt = performance.now();
    say(this.summary());
  }

  summary(): string {
    const minutes = Math.round((performance.now() - this.startedAt) / 60_000);
    const count = (counts: ReadonlyMap<unknown, number>) => [...counts].map(([what, n]) => `${String(what)}: ${n}`).join(', ');
    return `${minutes} min, ${this.steps.length} steps, ${this.changes} changes, ${this.pair.history.looks} looks; healed in cycles {${count(this.healings)}}; troubles {${count(this.troubles)}}`;
  }

  private async tryStep(): Promise<string[]> {
    const { pair, random } = this;
    const before = Array.from({ length: random.below(4) }, () => randomChange(random, ++this.changes));
    const during = random.chance(0.3) ? [randomChange(random, ++this.changes)] : [];
    const trouble = randomTrouble(random);
    const names = (changes: readonly { name: string }[]): string => changes.map(({ name }) => name).join(', ');
    this.steps.push(
      `${this.steps.length + 1}. ${names(before)}; ${trouble.name}${during.length > 0 ? `, meanwhile ${names(during)}` : ''}`,
    );
    const kind = trouble.name.replace(/ (after|edge\.|central\.).*$/, '');
    this.troubles.set(kind, (this.troubles.get(kind) ?? 0) + 1);

    for (const { sql } of before) await pair.history.change(sql);
    await Promise.all([trouble.run(pair), ...during.map(({ sql }) => pair.history.change(sql))]);
    const { problems, cycles } = await pair.heal();
    this.healings.set(cycles, (this.healings.get(cycles) ?? 0) + 1);
    pair.history.check();
    return problems;
  }

  private report(problems: readonly string[]): string {
    const isOwn = (line: string): boolean => !line.includes('"context"'); // Nest tells of each of its modules
    const log = (side: 'central' | 'edge'): string => this.pair.services[side].log.filter(isOwn).slice(-LOG_LINES_SHOWN).join('\n');
    return [
      `Seed ${SEED}: ${problems.join('\n')}`,
      `The last steps:\n${this.steps.slice(-STEPS_SHOWN).join('\n')}`,
      `central:\n${log('central')}`,
      `edge:\n${log('edge')}`,
    ].join('\n\n');
  }
}

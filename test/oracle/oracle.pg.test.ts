import { Oracle } from './oracle.js';

/** A short run; `npm run test:oracle -- --devices 50 --mutations 2000 --seed 7` is a long one. */
const setting = (name: string, otherwise: number): number => Number(process.env[`ORACLE_${name}`] ?? otherwise);
const SEED = setting('SEED', 1);
const DEVICES = setting('DEVICES', 4);
const MUTATIONS = setting('MUTATIONS', 150);
/** Far more than it takes. */
const TIMEOUT_MS = 300_000 + DEVICES * 20_000 + MUTATIONS * 5000;

const say = (line: string): void => {
  if (process.env['ORACLE_PROGRESS']) process.stderr.write(`oracle: ${line}\n`);
};

test(
  'after each cycle, whatever happened to it, a device holds its share of one moment, and at rest its share of now',
  async () => {
    await using oracle = await Oracle.start({ seed: SEED, devices: DEVICES, mutations: MUTATIONS, say });
    await oracle.run();
    say(oracle.summary());
    expect(oracle.cycles.comparisons).toBeGreaterThan(2 * DEVICES);
    expect(oracle.cycles.rowsCompared).toBeGreaterThan(100 * DEVICES);
  },
  TIMEOUT_MS,
);

// `npm run test:oracle -- --devices 50 --mutations 2000 --seed 7`: the oracle test with its own command line. Jest would take the options for its own.
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';

const USAGE =
  'Usage: npm run test:oracle -- [--devices n] [--mutations n] [--seed n]   (default: 20 devices, 500 mutations, a seed of the moment)';

function readCommandLine() {
  const string = (otherwise) => ({ type: 'string', default: otherwise });
  const options = { devices: string('20'), mutations: string('500'), seed: string(`${Date.now() % 1_000_000}`) };
  const { values } = parseArgs({ options });
  if (!/^[1-9]\d?$/.test(values.devices)) throw new Error('--devices must be a whole number from 1 to 99.');
  if (!/^[1-9]\d{0,4}$/.test(values.mutations)) throw new Error('--mutations must be a whole number from 1 to 99999.');
  if (!/^\d{1,9}$/.test(values.seed)) throw new Error('--seed must be a whole number.');
  return values;
}

function run({ devices, mutations, seed }) {
  const jest = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning', 'node_modules/jest/bin/jest.js'];
  const env = { ...process.env, ORACLE_DEVICES: devices, ORACLE_MUTATIONS: mutations, ORACLE_SEED: seed, ORACLE_PROGRESS: '1' };
  const { status } = spawnSync(process.execPath, [...jest, 'test/oracle/oracle.pg.test.ts'], { stdio: 'inherit', env });
  return status ?? 1;
}

try {
  process.exitCode = run(readCommandLine());
} catch (error) {
  console.error(`${error.message}\n\n${USAGE}`);
  process.exitCode = 2;
}

// `npm run test:soak -- --minutes 30 --seed 7`: the soak test with its own command line. Jest would take the options for its own.
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';

const USAGE = 'Usage: npm run test:soak -- [--minutes n] [--seed n]   (default: 10 minutes, a seed of the moment)';

function readCommandLine() {
  const string = (otherwise) => ({ type: 'string', default: otherwise });
  const { values } = parseArgs({ options: { minutes: string('10'), seed: string(`${Date.now() % 1_000_000}`) } });
  if (!/^[1-9]\d{0,4}$/.test(values.minutes)) throw new Error('--minutes must be a whole number of at least 1.');
  if (!/^\d{1,9}$/.test(values.seed)) throw new Error('--seed must be a whole number.');
  return values;
}

function run({ minutes, seed }) {
  const jest = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning', 'node_modules/jest/bin/jest.js'];
  const env = { ...process.env, SOAK_MINUTES: minutes, SOAK_SEED: seed };
  const { status } = spawnSync(process.execPath, [...jest, '--testMatch', '**/test/soak/soak.ts'], { stdio: 'inherit', env });
  return status ?? 1;
}

try {
  process.exitCode = run(readCommandLine());
} catch (error) {
  console.error(`${error.message}\n\n${USAGE}`);
  process.exitCode = 2;
}

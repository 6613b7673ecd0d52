import { canHave, run } from './commands.js';

/** Removes containers that a killed test process leaves behind; testcontainers starts it where it may. */
const REAPER_IMAGE = 'testcontainers/ryuk:0.14.0';
const FILES = ['test/support/postgres.pg.test.ts', 'apps/central-api/src/epochs/epochs.pg.test.ts'];

test('tests of the database pass on a server in a container, too: TEST_POSTGRES=testcontainers', async () => {
  const withoutReaper = (await canHave(REAPER_IMAGE)) ? {} : { TESTCONTAINERS_RYUK_DISABLED: 'true' };
  await run('npm', ['test', '--', ...FILES], { ...process.env, TEST_POSTGRES: 'testcontainers', ...withoutReaper });
});

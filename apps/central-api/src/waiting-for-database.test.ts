import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { freePort } from '../../../scripts/ports.js';
import { temporaryFolder } from '../../../test/support/temporary-folder.js';

const MAIN = join(process.cwd(), 'dist/central-api/apps/central-api/src/main.js');
const PLAN = join(process.cwd(), 'plans/fleet.yaml');

/** The built central with a database on this port, in a process that the end of the scope kills. */
async function centralAt(port: number) {
  const folder = await temporaryFolder();
  const env = {
    ...process.env,
    DATABASE_URL: `postgres://waypost@127.0.0.1:${port}/none`,
    SYNC_PLAN: PLAN,
    SNAPSHOT_STORE: `file:${folder.path}`,
    HOST: '127.0.0.1',
    PORT: '0',
    LOG_LEVEL: 'info',
  };
  const child: ChildProcess = spawn(process.execPath, [MAIN], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  return {
    child,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
      await folder[Symbol.asyncDispose]();
    },
  };
}

// Process 1 of a container never hears a signal that it has no handler for: docker would wait, and then kill.
test.each(['SIGTERM', 'SIGINT'] as const)('%s while it still waits for its database ends it with status 0', async (signal) => {
  const silent = createServer((socket) => socket.on('error', () => undefined)).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  try {
    await using central = await centralAt((silent.address() as { port: number }).port);
    await once(silent, 'connection');
    central.child.kill(signal);
    expect(await once(central.child, 'exit')).toEqual([0, null]);
  } finally {
    silent.close();
  }
});

test('while its database is away it says so, and why', async () => {
  await using central = await centralAt(await freePort());
  const lines = createInterface(central.child.stdout as NodeJS.ReadableStream);
  const [line] = (await once(lines, 'line')) as [string];
  expect(JSON.parse(line)).toMatchObject({ level: 'warn', msg: 'database not ready, trying again', err: { code: 'ECONNREFUSED' } });
});

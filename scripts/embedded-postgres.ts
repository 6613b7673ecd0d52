import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open, readFile, realpath, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { freePort, isPortFree } from './ports.js';
import { findBinaries } from './postgres/binaries.js';
import { ensureDataFolder } from './postgres/data-folder.js';
import { EmbeddedPostgresError } from './postgres/embedded-postgres-error.js';
import { endWithParent } from './postgres/end-with-parent.js';
import { findDatabaseUser, identity, serverEnvironment } from './postgres/run-as.js';
import { shutDown, takeOver } from './postgres/stale-server.js';

/** Generous, because a server that was killed first replays its log. */
const START_MS = 60_000;
const POLL_MS = 25;
const LOG_TAIL_LINES = 12;

export interface EmbeddedPostgresOptions {
  /** Holds the server's data, password and log. It must be workable for PostgreSQL's user: see `findHome`. */
  folder: string;
  /** A fixed one, or one to take if it is free. Default: any free one. */
  port?: number | { preferred: number };
  /** Server settings, as in postgresql.conf. */
  settings?: Readonly<Record<string, string | number>>;
  /** Another version than the default one: the npm package that brings it. */
  npmPackage?: string;
}

export interface EmbeddedPostgres extends AsyncDisposable {
  /** Of the database `postgres`, as superuser, with password. */
  url: string;
  port: number;
  dataDir: string;
  logFile: string;
  version: string;
  pid: number;
  /** Resolves when the server ends, asked or not. */
  exited: Promise<void>;
  /** Fast shutdown; returns once the process is gone. May be called twice. */
  stop(): Promise<void>;
}

/**
 * Starts npm's PostgreSQL on 127.0.0.1 and returns when it accepts connections. The first start in a folder makes the database cluster, later ones
 * keep its data. As root the server runs as another user. It ends with this process, however that ends; one that was left behind all the same
 * is shut down by the next start in its folder.
 * It has a session of its own: Ctrl-C in the terminal does not reach it, so that the caller decides the order of stopping.
 * @throws EmbeddedPostgresError, with the last lines of the server's log when it does not come up
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const user = await findDatabaseUser();
  const binaries = await findBinaries(user, options.npmPackage);
  await mkdir(options.folder, { recursive: true });
  const folder = await realpath(options.folder);
  await takeOver(folder, join(folder, 'data'));
  const { data: dataDir, password } = await ensureDataFolder(folder, binaries, user);

  const port = await choosePort(options.port);
  const logFile = join(folder, 'server.log');
  await rename(logFile, `${logFile}.previous`).catch(() => undefined);
  const log = await open(logFile, 'w', 0o644);
  const settings = { listen_addresses: '127.0.0.1', unix_socket_directories: '', port, ...options.settings };
  const args = ['-D', dataDir, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])];
  const child = spawn(binaries.postgres, args, {
    ...identity(user),
    cwd: '/',
    env: serverEnvironment(),
    detached: true,
    stdio: ['ignore', log.fd, log.fd],
  });
  const exited = once(child, 'exit').then(
    () => undefined,
    () => undefined,
  );
  endWithParent(child, dataDir, user);
  await log.close();

  const url = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
  const stop = (): Promise<void> => stopChild(child, dataDir, exited);
  try {
    await untilReady(child, url, logFile);
  } catch (error) {
    await stop();
    throw error;
  }
  return { url, port, dataDir, logFile, version: binaries.version, pid: child.pid as number, exited, stop, [Symbol.asyncDispose]: stop };
}

async function untilReady(child: ChildProcess, url: string, logFile: string): Promise<void> {
  const deadline = Date.now() + START_MS;
  while (child.pid !== undefined && child.exitCode === null && child.signalCode === null && Date.now() < deadline) {
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 1_000 });
    client.on('error', () => undefined);
    const answers = await client.connect().then(
      () => true,
      () => false,
    );
    await client.end().catch(() => undefined);
    if (answers) return;
    await sleep(POLL_MS);
  }
  const tail = (await readFile(logFile, 'utf8')).trimEnd().split('\n').slice(-LOG_TAIL_LINES).join('\n');
  throw new EmbeddedPostgresError(`PostgreSQL did not start. The end of ${logFile}:\n${tail}`, 'The log names the reason.');
}

async function stopChild(child: ChildProcess, dataDir: string, exited: Promise<void>): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  await shutDown(child.pid, dataDir);
  await exited;
}

async function choosePort(wanted: EmbeddedPostgresOptions['port']): Promise<number> {
  if (typeof wanted === 'number') return wanted;
  if (wanted && (await isPortFree(wanted.preferred))) return wanted.preferred;
  return freePort();
}

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { JETSON_MAC } from '../fleet/equipment.js';
import { findHome } from '../postgres/home.js';
import { findDatabaseUser } from '../postgres/run-as.js';
import { projectRoot } from '../project-root.js';
import { type Database, ensureFleet, startDatabase } from './databases.js';
import { syncNow, untilHealthy } from './first-sync.js';
import { installCapture } from './install-capture.js';
import type { ReportInput } from './report.js';
import type { Running } from './running.js';
import { ServiceProcess } from './service-process.js';
import { readSettings, type Settings, StartError } from './settings.js';
import { includeStartupCycle } from './startup-cycle.js';

const PLAN = join(projectRoot, 'plans', 'fleet.yaml');

interface Context {
  /** Gets each part as soon as it is started, so that the caller can stop it when a later step fails. */
  running: Running;
  signal: AbortSignal;
  say: (line: string) => void;
}

/**
 * Both sides on this machine: embedded PostgreSQL, the example fleet, both services, the first sync.
 * @throws StartError, EmbeddedPostgresError; the signal's reason
 */
export async function bringUp(context: Context): Promise<ReportInput> {
  const startedAt = performance.now();
  const settings = await readSettings(process.env);
  const user = await findDatabaseUser();
  const wanted = join(projectRoot, 'var');
  const { folder: home, relocated } = await findHome(wanted, user);
  const logFolder = join(home, 'log');
  await mkdir(logFolder, { recursive: true });

  context.say(`starting PostgreSQL for central and edge; data in ${home} …`);
  const centralDatabase = await runDatabase('central', home, context);
  const edgeDatabase = await runDatabase('edge', home, context);
  await ensureFleet(centralDatabase.url, () => context.say('filling the example fleet, only at the first start …'));
  await installCapture(centralDatabase.url, PLAN, context.signal);

  context.say(`starting central-api and edge-service; logs in ${logFolder} …`);
  const central = await runService({ ...centralService(settings, centralDatabase.url, home), logFolder }, context);
  const edgeStartedAt = new Date();
  const edge = await runService({ ...edgeService(settings, edgeDatabase.url, home), logFolder }, context);
  context.say('waiting for the first sync …');
  const result = await context.running.unlessFailed(syncNow(edge.url, context.signal));
  const sync = await includeStartupCycle(result, edgeDatabase.url, edgeStartedAt);
  return {
    central: { url: central.url, databaseUrl: centralDatabase.url },
    edge: { url: edge.url, databaseUrl: edgeDatabase.url },
    postgresVersion: centralDatabase.server.version,
    home,
    relocatedBecause: relocated ? `not in ${wanted}: PostgreSQL runs as ${user.name} and cannot work there` : undefined,
    logFolder,
    sync,
    syncInterval: settings.syncInterval,
    totalMs: performance.now() - startedAt,
  };
}

async function runDatabase(side: 'central' | 'edge', home: string, { running, signal }: Context): Promise<Database> {
  signal.throwIfAborted();
  const database = await startDatabase(side, home);
  const { server } = database;
  const failed = server.exited.then(() => {
    throw new StartError(`The PostgreSQL of ${side} ended by itself; see ${server.logFile}`);
  });
  running.add({ name: `PostgreSQL of ${side}`, stop: () => server.stop(), failed });
  return database;
}

async function runService(options: ConstructorParameters<typeof ServiceProcess>[0], { running, signal }: Context): Promise<ServiceProcess> {
  signal.throwIfAborted();
  const service = new ServiceProcess(options);
  running.add(service);
  await running.unlessFailed(untilHealthy(service.url, signal));
  return service;
}

function centralService({ centralPort }: Settings, databaseUrl: string, home: string) {
  return {
    name: 'central-api' as const,
    port: centralPort,
    env: {
      DATABASE_URL: databaseUrl,
      SYNC_PLAN: PLAN,
      // Curl lines of the README name a MAC.
      AUTH: 'mac',
      SNAPSHOT_STORE: `file:${join(home, 'snapshots')}`,
    },
  };
}

function edgeService({ centralPort, edgePort, syncInterval }: Settings, databaseUrl: string, home: string) {
  return {
    name: 'edge-service' as const,
    port: edgePort,
    env: {
      DATABASE_URL: databaseUrl,
      CENTRAL_URL: `http://127.0.0.1:${centralPort}`,
      DEVICE_MAC: JETSON_MAC,
      DOWNLOAD_DIR: join(home, 'downloads'),
      IDENTITY_DIR: join(home, 'identity'),
      SYNC_INTERVAL: syncInterval,
      SCHEMA_VERSION: '1',
    },
  };
}

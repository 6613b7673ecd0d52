import type { Provider } from '@nestjs/common';
import { createPool, LOGGER } from '@waypost/runtime';
import type pg from 'pg';
import type { Logger } from 'pino';
import { DATABASE_OPTIONS, type DatabaseOptions } from './database-options.js';

/** Snapshots: a connection for each build and each payload in progress. */
export const BUILD_POOL = Symbol('build pool');
/** The chunk store's own tables: what is looked up while another connection reads a device's share. */
export const STORE_POOL = Symbol('store pool');
/** Answers "unchanged". One batch at a time: two side by side were smaller, and answered 3,700 polls a second in place of 4,100. */
export const POLL_POOL = Symbol('poll pool');
/** The scope query before a request is queued. Where it waits for a lock, only devices' requests wait for it. */
export const SCOPE_POOL = Symbol('scope pool');
/** Shadow reads. */
export const SHADOW_POOL = Symbol('shadow pool');
export const CANARY_POOL = Symbol('canary pool');
/** Who sends a request. */
export const IDENTITY_POOL = Symbol('identity pool');
/** Appends to the ledger, and reads proofs of it. */
export const LEDGER_POOL = Symbol('ledger pool');

/** For single statements of builds and downloads, and one sweep. */
const STORE_CONNECTIONS = 4;

/** One appends, one answers. */
const LEDGER_CONNECTIONS = 2;

interface PoolShape {
  /** In pg_stat_activity. */
  name: string;
  connections: (options: DatabaseOptions) => number;
}

const one = (): number => 1;

const POOLS = new Map<symbol, PoolShape>([
  [BUILD_POOL, { name: 'build', connections: ({ maxBuilds, maxPayloads }) => maxBuilds + maxPayloads }],
  [STORE_POOL, { name: 'store', connections: () => STORE_CONNECTIONS }],
  [POLL_POOL, { name: 'polls', connections: one }],
  [SCOPE_POOL, { name: 'scopes', connections: one }],
  [SHADOW_POOL, { name: 'shadow', connections: one }],
  [CANARY_POOL, { name: 'canary', connections: one }],
  [IDENTITY_POOL, { name: 'identity', connections: one }],
  [LEDGER_POOL, { name: 'ledger', connections: () => LEDGER_CONNECTIONS }],
]);

export const POOL_TOKENS = [...POOLS.keys()];

/** A pool connects when it is first used. DatabaseModule ends them all. */
export const POOL_PROVIDERS: Provider[] = [...POOLS].map(([provide, { name, connections }]) => ({
  provide,
  inject: [DATABASE_OPTIONS, LOGGER],
  useFactory: (options: DatabaseOptions, logger: Logger): pg.Pool =>
    createPool({
      url: options.url,
      applicationName: `waypost-central-${name}`,
      maxConnections: connections(options),
      onIdleError: (err) => logger.warn({ err }, 'an idle connection to the database broke'),
    }),
}));

import { setTimeout as delay } from 'node:timers/promises';
import { Inject, Injectable, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { WaypostError } from '@waypost/contracts';
import {
  ADVISORY_NAMESPACE,
  AdvisoryLock,
  queryOn,
  createPool,
  databaseIsCentrals,
  type DatabaseIdentity,
  hasTablesOf,
  LOGGER,
  readDatabaseIdentity,
  withClient,
} from '@waypost/runtime';
import type pg from 'pg';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { DATABASE_OPTIONS, type DatabaseOptions } from './database-options.js';
import { openingFault } from './opening-fault.js';

const FIRST_RETRY_MS = 250;
const MAX_RETRY_MS = 15_000;

/** Why the database is not ready, and since when. */
export interface DatabaseFault {
  error: WaypostError;
  since: Date;
}

/**
 * The device's database: connects and migrates in the background for as long as it takes, so that a database that is away at start
 * does not end the process. `pool` is for the data path, TypeORM's repositories are for Waypost's own tables.
 */
@Injectable()
export class Database implements OnModuleInit, OnApplicationShutdown {
  readonly pool: pg.Pool;
  private migrated: DatabaseIdentity | undefined;
  private lastFault: DatabaseFault | undefined;
  private opening: Promise<void> = Promise.resolve();
  private readonly closing = new AbortController();

  constructor(
    @Inject(DATABASE_OPTIONS) options: DatabaseOptions,
    @Inject(LOGGER) private readonly logger: Logger,
    @InjectDataSource() private readonly dataSource: DataSource,
  ) {
    this.pool = createPool({
      url: options.url,
      applicationName: 'waypost-edge',
      maxConnections: 4,
      onIdleError: (error) => this.logger.warn({ err: error }, 'an idle database connection broke'),
    });
  }

  onModuleInit(): void {
    this.opening = this.open();
  }

  async onApplicationShutdown(): Promise<void> {
    this.closing.abort();
    await this.opening;
    if (this.dataSource.isInitialized) await this.dataSource.destroy();
    await this.pool.end();
  }

  /** Whether Waypost's tables are there. The database may be away again all the same. */
  get ready(): boolean {
    return this.migrated !== undefined;
  }

  /** Undefined when it is ready, and before the first attempt has failed. */
  get fault(): DatabaseFault | undefined {
    return this.ready ? undefined : this.lastFault;
  }

  /** Which database Waypost's tables were made in. @throws WaypostError DATABASE_UNAVAILABLE before that */
  get identity(): DatabaseIdentity {
    if (!this.migrated) throw this.notReady();
    return this.migrated;
  }

  /** @throws WaypostError DATABASE_UNAVAILABLE or WRONG_DATABASE, with the reason, when it is not ready within the time */
  async whenReady(timeoutMs: number): Promise<void> {
    if (this.ready) return;
    const waiting = new AbortController();
    const late = delay(timeoutMs, undefined, { ref: false, signal: waiting.signal }).catch(() => undefined);
    await Promise.race([this.opening, late]);
    waiting.abort();
    if (!this.ready) throw this.notReady();
  }

  /** Waits for as long as it takes, or until the service stops. @returns whether it is ready */
  async opened(): Promise<boolean> {
    await this.opening;
    return this.ready;
  }

  /** Makes Waypost's tables again, in a database that has replaced the one in which they were. Waits as `whenReady`. */
  async reopen(timeoutMs: number): Promise<void> {
    this.migrated = undefined;
    this.opening = this.open();
    await this.whenReady(timeoutMs);
  }

  private notReady(): WaypostError {
    return this.lastFault?.error ?? new WaypostError('DATABASE_UNAVAILABLE', { detail: 'The database is not ready: not connected yet.' });
  }

  private async open(): Promise<void> {
    this.lastFault = undefined;
    for (let waitMs = FIRST_RETRY_MS; !this.closing.signal.aborted; waitMs = Math.min(waitMs * 2, MAX_RETRY_MS)) {
      try {
        this.migrated = await this.migrate();
        this.logger.info('database ready');
        return;
      } catch (error) {
        this.reportFault(openingFault(error), waitMs);
        await delay(waitMs, undefined, { signal: this.closing.signal }).catch(() => undefined);
      }
    }
  }

  /** Logs each reason once, not each attempt. */
  private reportFault(error: WaypostError, retryInMs: number): void {
    const isSame = this.lastFault?.error.message === error.message;
    this.lastFault = { error, since: (isSame && this.lastFault?.since) || new Date() };
    this.logger[isSame ? 'debug' : 'warn'](
      { err: error, reason: error.message, hint: error.hint, retryInMs },
      'database not ready, trying again',
    );
  }

  /** Only one process migrates at a time; the others wait and then find nothing to do. Nothing is written to a database that is central's. */
  private async migrate(): Promise<DatabaseIdentity> {
    return withClient(this.pool, async (client) => {
      await client.query('SELECT pg_advisory_lock($1, $2)', [ADVISORY_NAMESPACE, AdvisoryLock.migrations]);
      const { rows } = await client.query<{ central: boolean }>(`SELECT ${hasTablesOf('central')} AS central`);
      if (rows[0]?.central) throw databaseIsCentrals('its schema waypost holds tables of central-api');
      // CREATE SCHEMA IF NOT EXISTS would ask for the right to create one even where it exists.
      const { rowCount } = await client.query("SELECT FROM pg_namespace WHERE nspname = 'waypost'");
      if (rowCount === 0) await client.query('CREATE SCHEMA waypost');
      if (!this.dataSource.isInitialized) await this.dataSource.initialize();
      await this.dataSource.runMigrations({ transaction: 'all' });
      const identity = await readDatabaseIdentity(queryOn(client));
      await client.query('SELECT pg_advisory_unlock($1, $2)', [ADVISORY_NAMESPACE, AdvisoryLock.migrations]);
      return identity;
    });
  }
}

import { setTimeout as delay } from 'node:timers/promises';
import { Inject, Injectable, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import { WaypostError } from '@waypost/contracts';
import { ADVISORY_NAMESPACE, AdvisoryLock, createPool, LOGGER, withClient } from '@waypost/runtime';
import type pg from 'pg';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { CONFIG, type EdgeConfig } from '../config.js';

const FIRST_RETRY_MS = 250;
const MAX_RETRY_MS = 15_000;

/**
 * The device's database: connects and migrates in the background for as long as it takes, so that a database that is away at start
 * does not end the process. `pool` is for the data path, TypeORM's repositories are for Waypost's own tables.
 */
@Injectable()
export class Database implements OnModuleInit, OnApplicationShutdown {
  readonly pool: pg.Pool;
  private migrated = false;
  private lastFault = 'not connected yet';
  private opening: Promise<void> = Promise.resolve();
  private readonly closing = new AbortController();

  constructor(
    @Inject(CONFIG) config: EdgeConfig,
    @Inject(LOGGER) private readonly logger: Logger,
    @InjectDataSource() private readonly dataSource: DataSource,
  ) {
    this.pool = createPool({
      url: config.DATABASE_URL,
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
    return this.migrated;
  }

  /** @throws WaypostError DATABASE_UNAVAILABLE when it is not ready within the time */
  async whenReady(timeoutMs: number): Promise<void> {
    if (this.migrated) return;
    await Promise.race([this.opening, delay(timeoutMs, undefined, { ref: false })]);
    if (!this.migrated) throw new WaypostError('DATABASE_UNAVAILABLE', { detail: `The database is not ready: ${this.lastFault}` });
  }

  private async open(): Promise<void> {
    for (let waitMs = FIRST_RETRY_MS; !this.closing.signal.aborted; waitMs = Math.min(waitMs * 2, MAX_RETRY_MS)) {
      try {
        await this.migrate();
        this.migrated = true;
        this.logger.info('database ready');
        return;
      } catch (error) {
        this.lastFault = error instanceof Error ? error.message : String(error);
        this.logger.warn({ err: error, retryInMs: waitMs }, 'database not ready, trying again');
        await delay(waitMs, undefined, { signal: this.closing.signal }).catch(() => undefined);
      }
    }
  }

  /** Only one process migrates at a time; the others wait and then find nothing to do. */
  private async migrate(): Promise<void> {
    await withClient(this.pool, async (client) => {
      await client.query('SELECT pg_advisory_lock($1, $2)', [ADVISORY_NAMESPACE, AdvisoryLock.migrations]);
      // CREATE SCHEMA IF NOT EXISTS would ask for the right to create one even where it exists.
      const { rowCount } = await client.query("SELECT FROM pg_namespace WHERE nspname = 'waypost'");
      if (rowCount === 0) await client.query('CREATE SCHEMA waypost');
      if (!this.dataSource.isInitialized) await this.dataSource.initialize();
      await this.dataSource.runMigrations({ transaction: 'all' });
      await client.query('SELECT pg_advisory_unlock($1, $2)', [ADVISORY_NAMESPACE, AdvisoryLock.migrations]);
    });
  }
}

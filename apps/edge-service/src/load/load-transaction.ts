import { Inject, Injectable } from '@nestjs/common';
import { type ErrorCode, type Manifest, type ManifestTable, WaypostError } from '@waypost/contracts';
import { LOGGER, pinSession, SqlState, sqlStateOf, withTransaction } from '@waypost/runtime';
import { ExponentialBackoff, handleWhen, retry } from 'cockatiel';
import type pg from 'pg';
import type { Logger } from 'pino';
import { shuttingDown } from '../central/stoppable.js';
import { CONFIG, type EdgeConfig } from '../config.js';
import type { SpooledTable } from '../download/spooled-table.js';
import { mustMatch, readFacts } from '../verify/verify-table.js';
import { createTables } from './create-tables.js';
import { inspectMirror, type Mirror } from './inspect-mirror.js';
import { loadError, tablesLocked } from './load-errors.js';
import { loadTable, lockStatement, truncateStatement } from './load-table.js';
import { withReferencing } from './local-references.js';

/** Each try waits up to LOCK_TIMEOUT for the lock; between tries the readers that queued behind it get their turn. */
const LOCK_RETRIES = 5;

export interface LoadOrder {
  manifest: Manifest;
  /** The tables to load; what references them here is among them. */
  tables: readonly ManifestTable[];
  spooled: ReadonlyMap<string, SpooledTable>;
  /** Runs as the transaction's last statements: what must be true together with the rows. */
  record: (client: pg.ClientBase) => Promise<void>;
  /** Called around each part. */
  step: <T>(name: string, facts: object, work: () => Promise<T>) => Promise<T>;
  /** Breaks the transaction off; the connection is of no use then. */
  signal: AbortSignal;
}

/** Puts downloaded tables into the database: all of them, verified and written down, or nothing. */
@Injectable()
export class LoadTransaction {
  constructor(
    @Inject(CONFIG) private readonly config: EdgeConfig,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * @throws WaypostError LOCK_TIMEOUT after several tries; MIRROR_ALTERED, LOAD_REFUSED, SCHEMA_MISMATCH, LOCAL_REFERENCE, CHUNK_CORRUPT, VERIFICATION_FAILED,
   * DATABASE_UNAVAILABLE, SHUTTING_DOWN: in all cases nothing was changed
   */
  async run(client: pg.PoolClient, order: LoadOrder): Promise<void> {
    const locked = (error: unknown): boolean => error instanceof WaypostError && error.code === ('LOCK_TIMEOUT' satisfies ErrorCode);
    const tries = retry(handleWhen(locked), {
      maxAttempts: LOCK_RETRIES,
      backoff: new ExponentialBackoff({ initialDelay: 250, maxDelay: 5000 }),
    });
    tries.onRetry(({ delay, attempt }) => {
      this.logger.warn(
        { attempt, retryInMs: Math.round(delay), manifestId: order.manifest.manifestId },
        'mirrored tables are locked, trying again',
      );
    });
    // The only sure way to end whatever statement is running: PostgreSQL rolls back when the connection is gone.
    const cut = (): void => void client.end();
    order.signal.addEventListener('abort', cut, { once: true });
    try {
      await tries.execute(async () => {
        if (order.signal.aborted) throw shuttingDown();
        await this.once(client, order).catch((error: unknown) => {
          throw order.signal.aborted ? shuttingDown() : loadError(error);
        });
      }, order.signal);
    } finally {
      order.signal.removeEventListener('abort', cut);
    }
  }

  private async once(client: pg.PoolClient, { manifest, tables, spooled, record, step }: LoadOrder): Promise<void> {
    await withTransaction(client, 'READ WRITE', async () => {
      await pinSession(client);
      await this.limitTransaction(client);
      const { tables: locals } = await step('prepare', {}, () => this.prepare(client, manifest, tables));
      await pinSession(client);
      for (const table of tables) {
        const facts = { table: table.name, rowCount: table.rowCount, rawBytes: table.rawBytes };
        await step('load', facts, () => loadTable(client, table, locals.get(table.name)!, spooled.get(table.name)!));
      }
      // After the last row: a trigger of one table may have touched another.
      for (const table of tables) {
        const facts = { table: table.name, rowCount: table.rowCount, sha256: table.sha256 };
        await step('verify', facts, async () => mustMatch(await readFacts(client, table, locals.get(table.name)!), table));
      }
      await record(client);
    });
  }

  /** Creates what is missing, checks again what may have changed during the download, and empties the tables. */
  private async prepare(client: pg.ClientBase, manifest: Manifest, tables: readonly ManifestTable[]): Promise<Mirror> {
    const before = await inspectMirror(client, manifest);
    const missing = manifest.tables.filter(({ name }) => !before.tables.has(name));
    await createTables(client, manifest, missing);
    const mirror = missing.length > 0 ? await inspectMirror(client, manifest) : before;
    const needed = withReferencing(manifest.tables, new Set(tables.map(({ name }) => name)), mirror.references);
    const unforeseen = [...needed, ...missing].find((table) => !tables.includes(table));
    if (unforeseen) {
      // Dropped, or a foreign key added, since the cycle looked: it must look again.
      throw new WaypostError('MIRROR_ALTERED', { detail: `${unforeseen.name} was altered while the cycle was under way.` });
    }
    await this.lockTables(client, lockStatement(tables, mirror.tables));
    await client.query(truncateStatement(tables, mirror.tables));
    return mirror;
  }

  /**
   * Waits LOCK_TIMEOUT for all locks together. TRUNCATE alone would wait so long for each, and readers of the first table would queue
   * behind us while we wait for the last one.
   */
  private async lockTables(client: pg.ClientBase, statement: string): Promise<void> {
    await client.query("SELECT set_config('statement_timeout', $1, true)", [String(this.config.LOCK_TIMEOUT)]);
    await client.query(statement).catch((error: unknown) => {
      throw sqlStateOf(error) === SqlState.queryCanceled ? tablesLocked(error) : error;
    });
    await client.query("SELECT set_config('statement_timeout', '0', true)");
  }

  private async limitTransaction(client: pg.ClientBase): Promise<void> {
    await client.query(
      `SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', '0', true),
              set_config('idle_in_transaction_session_timeout', '0', true), set_config('max_parallel_workers_per_gather', '0', true)`,
      [String(this.config.LOCK_TIMEOUT)],
    );
  }
}

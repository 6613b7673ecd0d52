import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { AdvisoryLock, ADVISORY_NAMESPACE, LOGGER, sqlStateOf, SqlState } from '@waypost/runtime';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { pruneChanges } from '../changes/prune-changes.js';
import { PRUNE_READS } from '../changes/table-reads.sql.js';
import { READ_SEEN_BY_ALL } from '../changes/unchanged.sql.js';
import { SNAPSHOT_STORE, type SnapshotId, type SnapshotStore } from './snapshot-store.js';

const INTERVAL_MS = 3_600_000;
const RETRY_MS = 60_000;
/** New requests queue behind a waiting sweep, so it waits only so long: from the first bound up to the second, doubled each time it is in vain. */
const PATIENCE_MS = { first: 250, longest: 16_000 } as const;
const NEEDED_SNAPSHOTS = `
  SELECT DISTINCT t.sha256, t.format FROM waypost.sync_manifests t JOIN waypost.manifests m USING (manifest_id) WHERE m.expires_at > now()`;

/** Removes, at start and once an hour, the snapshots and the captured changes that no live manifest needs. */
@Injectable()
export class SnapshotSweeper implements OnApplicationBootstrap, OnApplicationShutdown {
  private timer: NodeJS.Timeout | undefined;
  private running: Promise<void> = Promise.resolve();
  private stopped = false;
  /** Captured changes of transactions before this one are of no use any more. */
  private seenByAll = '0';

  constructor(
    private readonly dataSource: DataSource,
    @Inject(SNAPSHOT_STORE) private readonly store: SnapshotStore,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.schedule(0, PATIENCE_MS.first);
  }

  async onApplicationShutdown(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.running;
  }

  /**
   * Requests that have stored snapshots and not yet their manifest hold the lock shared: waits for them, at most `patienceMs`.
   * @returns how many were removed; undefined when the wait was in vain
   */
  async sweep(patienceMs: number = PATIENCE_MS.longest): Promise<number | undefined> {
    try {
      return await this.dataSource.transaction(async (manager) => {
        await manager.query(`SET LOCAL lock_timeout = ${patienceMs}`);
        await manager.query('SELECT pg_advisory_xact_lock($1, $2)', [ADVISORY_NAMESPACE, AdvisoryLock.snapshotStore]);
        await manager.query(PRUNE_READS);
        const [seen] = await manager.query<[{ xid: string }]>(READ_SEEN_BY_ALL);
        this.seenByAll = seen.xid;
        const needed = await manager.query<SnapshotId[]>(NEEDED_SNAPSHOTS);
        const ids = new Set(needed.map(({ sha256, format }) => `${sha256}.${format}`));
        return this.store.sweep(({ sha256, format }) => ids.has(`${sha256}.${format}`));
      });
    } catch (error) {
      if (sqlStateOf(error) === SqlState.lockNotAvailable) return undefined;
      throw error;
    }
  }

  private schedule(delayMs: number, patienceMs: number): void {
    this.timer = setTimeout(() => {
      this.running = this.run(patienceMs);
    }, delayMs).unref();
  }

  private async run(patienceMs: number): Promise<void> {
    const removed = await this.sweep(patienceMs).catch((err: unknown) => {
      this.logger.error({ err }, 'snapshots could not be swept');
      return 0;
    });
    if (this.stopped) return;
    // Without the lock, which would keep requests waiting.
    await this.store.measure().catch((err: unknown) => this.logger.error({ err }, 'the snapshot store could not be measured'));
    if (this.stopped) return;
    const pruned = await pruneChanges((text, values) => this.dataSource.manager.query(text, values), this.seenByAll).catch(
      (err: unknown) => {
        this.logger.error({ err }, 'captured changes could not be pruned');
        return 0;
      },
    );
    if (pruned > 0) this.logger.info({ pruned }, 'captured changes pruned');
    if (this.stopped) return;
    if (removed === undefined) return this.schedule(RETRY_MS, Math.min(2 * patienceMs, PATIENCE_MS.longest));
    if (removed > 0) this.logger.info({ removed }, 'unneeded snapshots removed');
    this.schedule(INTERVAL_MS, PATIENCE_MS.first);
  }
}

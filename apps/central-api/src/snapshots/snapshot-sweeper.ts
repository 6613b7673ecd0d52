import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { AdvisoryLock, ADVISORY_NAMESPACE, LOGGER } from '@waypost/runtime';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { SNAPSHOT_STORE, type SnapshotId, type SnapshotStore } from './snapshot-store.js';

const INTERVAL_MS = 3_600_000;
const NEEDED_SNAPSHOTS = `
  SELECT DISTINCT t.sha256, t.format FROM waypost.sync_manifests t JOIN waypost.manifests m USING (manifest_id) WHERE m.expires_at > now()`;

/** Removes, once an hour, the snapshots that no live manifest needs. */
@Injectable()
export class SnapshotSweeper implements OnApplicationBootstrap, OnApplicationShutdown {
  private timer: NodeJS.Timeout | undefined;
  private running: Promise<void> = Promise.resolve();

  constructor(
    private readonly dataSource: DataSource,
    @Inject(SNAPSHOT_STORE) private readonly store: SnapshotStore,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.timer = setInterval(() => {
      this.running = this.sweep().then(
        (removed) => this.logger.info({ removed }, 'unneeded snapshots removed'),
        (err: unknown) => this.logger.error({ err }, 'snapshots could not be swept'),
      );
    }, INTERVAL_MS).unref();
  }

  async onApplicationShutdown(): Promise<void> {
    clearInterval(this.timer);
    await this.running;
  }

  /** Waits for requests that have stored snapshots and not yet their manifest: they hold the lock shared. */
  async sweep(): Promise<number> {
    const runner = this.dataSource.createQueryRunner();
    await runner.connect();
    try {
      await runner.query('SELECT pg_advisory_lock($1, $2)', [ADVISORY_NAMESPACE, AdvisoryLock.snapshotStore]);
      try {
        const needed = (await runner.query(NEEDED_SNAPSHOTS)) as SnapshotId[];
        const ids = new Set(needed.map(({ sha256, format }) => `${sha256}.${format}`));
        return await this.store.sweep(({ sha256, format }) => ids.has(`${sha256}.${format}`));
      } finally {
        await runner.query('SELECT pg_advisory_unlock($1, $2)', [ADVISORY_NAMESPACE, AdvisoryLock.snapshotStore]);
      }
    } finally {
      await runner.release();
    }
  }
}

import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import { createPool, databaseError, ExpiringMap, LOGGER, pinSession, withClient, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import type { Logger } from 'pino';
import { CONFIG, type Config } from '../config.js';
import { Batches } from '../database/batcher.js';
import { CHECKED_PLAN, type CheckedPlan } from '../plan/check-plan.js';
import { PlanRecheck } from '../plan/plan-recheck.js';
import { lockTables } from '../plan/lock-tables.js';
import { resolveScopes, shareOf } from './resolve-scope.js';

/** In one transaction: it is over soon, so that nobody waits long for the next. */
const MAX_BATCH = 200;

/** A device that was just registered or activated is served after this time at the latest. */
const REFUSED = { ttlMs: 2000, maxEntries: 10_000 } as const;

/**
 * Tells which share a device asks for, before it waits for others: so that those who want the same are answered together, and those who may see nothing take
 * no place that a device could use. What a device may see is asked again within the snapshot, under the locks that a right answer takes.
 */
@Injectable()
export class FindShare implements OnApplicationShutdown {
  /** Of its own: where the scope query waits for a lock, nothing but devices' requests does. */
  private readonly pool: pg.Pool;
  private readonly refused = new ExpiringMap<string, WaypostError>(REFUSED);
  private readonly batches = new Batches<string, string | WaypostError>((macs) => this.resolve(macs), MAX_BATCH);

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    @Inject(LOGGER) logger: Logger,
    @Inject(CHECKED_PLAN) private readonly plan: CheckedPlan,
    private readonly recheck: PlanRecheck,
  ) {
    this.pool = createPool({
      url: config.DATABASE_URL,
      applicationName: 'waypost-central-scopes',
      maxConnections: 1,
      onIdleError: (err) => logger.warn({ err }, 'an idle connection to the database broke'),
    });
  }

  async onApplicationShutdown(): Promise<void> {
    await this.pool.end();
  }

  /**
   * @param mac normalized
   * @returns equal for devices of one share; of its own for a device for which the scope query fails
   * @throws WaypostError DEVICE_UNKNOWN, DEVICE_AMBIGUOUS, DEVICE_INACTIVE, the same again for a moment; LOCK_TIMEOUT, DATABASE_UNAVAILABLE, PLAN_INVALID
   */
  async of(mac: string): Promise<string> {
    const found = this.refused.get(mac) ?? (await this.batches.do(mac));
    if (typeof found === 'string') return found;
    if (this.refused.get(mac) === undefined) this.refused.set(mac, found);
    throw new WaypostError(found.code, found.detail === undefined ? {} : { detail: found.detail });
  }

  private async resolve(macs: readonly string[]): Promise<(string | WaypostError)[]> {
    try {
      return await this.resolveTogether(macs).catch((error: unknown) => this.recheck.rethrow(error));
    } catch (error) {
      if (error instanceof WaypostError || databaseError(error)) throw error;
      // One device's row makes the query fail: the others are not its business, and it will hear why.
      if (macs.length === 1) return macs.map(noShare);
      return (await Promise.all(macs.map((mac) => this.resolve([mac])))).flat();
    }
  }

  private resolveTogether(macs: readonly string[]): Promise<(string | WaypostError)[]> {
    return withClient(this.pool, (client) =>
      withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
        await pinSession(client);
        await client.query(
          `SET LOCAL lock_timeout = ${this.config.LOCK_TIMEOUT}; SET LOCAL statement_timeout = ${this.config.BUILD_TIMEOUT}`,
        );
        // A refusal is an answer: a table that is truncated and filled again meanwhile must not make a device look unknown.
        await lockTables(client, { reads: this.plan.scopeReads });
        const scopes = await resolveScopes(client, this.plan, macs);
        return scopes.map((scope) => (scope instanceof WaypostError ? scope : shareOf(this.plan, scope)));
      }),
    );
  }
}

function noShare(mac: string): string {
  return `none of ${mac}`;
}

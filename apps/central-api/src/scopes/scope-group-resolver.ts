import { Inject, Injectable } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import { databaseError, PIN_SESSION, withClient, withTransaction } from '@waypost/runtime';
import { LRUCache } from 'lru-cache';
import pg from 'pg';
import { Batcher } from '../database/batcher.js';
import { SCOPE_POOL } from '../database/pools.js';
import { CHECKED_PLAN, type CheckedPlan } from '../plan/check-plan.js';
import { PlanRecheck } from '../plan/plan-recheck.js';
import { lockTables } from '../plan/lock-tables.js';
import { resolveScopes, scopeKeyOf } from './resolve-scope.js';
import { SCOPE_OPTIONS, type ScopeOptions } from './scope-options.js';

/** In one transaction, which is short, so that the next batch does not wait long. */
const MAX_BATCH = 200;

/** A device that was just registered or activated is served after this time at the latest. */
const REFUSED = { ttl: 2000, max: 10_000 } as const;

/**
 * Tells which scope group a device belongs to, before its request is queued: so that requests for the same rows are coalesced, and a device that may see
 * nothing takes no permit that another one could use. What a device may see is asked again within the snapshot, under the locks that a correct answer needs.
 */
@Injectable()
export class ScopeGroupResolver {
  private readonly refused = new LRUCache<string, WaypostError>(REFUSED);
  private readonly batches = new Batcher<string, string | WaypostError>((macs) => this.resolveBatch(macs), MAX_BATCH);

  constructor(
    @Inject(SCOPE_OPTIONS) private readonly options: ScopeOptions,
    @Inject(SCOPE_POOL) private readonly pool: pg.Pool,
    @Inject(CHECKED_PLAN) private readonly plan: CheckedPlan,
    private readonly recheck: PlanRecheck,
  ) {}

  /**
   * @param mac normalized
   * @returns the key of the device's scope group, equal for devices that see the same rows; of its own for a device for which the scope query fails
   * @throws WaypostError DEVICE_UNKNOWN, DEVICE_AMBIGUOUS, DEVICE_INACTIVE, the same again for a moment; LOCK_TIMEOUT, DATABASE_UNAVAILABLE, PLAN_INVALID
   */
  async resolve(mac: string): Promise<string> {
    const found = this.refused.get(mac) ?? (await this.batches.do(mac));
    if (typeof found === 'string') return found;
    if (this.refused.get(mac) === undefined) this.refused.set(mac, found);
    throw new WaypostError(found.code, found.detail === undefined ? {} : { detail: found.detail });
  }

  private async resolveBatch(macs: readonly string[]): Promise<(string | WaypostError)[]> {
    try {
      return await this.resolveTogether(macs).catch((error: unknown) => this.recheck.rethrow(error));
    } catch (error) {
      if (error instanceof WaypostError || databaseError(error)) throw error;
      // The query fails on one device's row: the others are answered all the same, and that one gets the error.
      if (macs.length === 1) return macs.map(ownGroup);
      return (await Promise.all(macs.map((mac) => this.resolveBatch([mac])))).flat();
    }
  }

  private resolveTogether(macs: readonly string[]): Promise<(string | WaypostError)[]> {
    const { lockTimeoutMs, statementTimeoutMs } = this.options;
    const settings = `${PIN_SESSION} SET LOCAL lock_timeout = ${lockTimeoutMs}; SET LOCAL statement_timeout = ${statementTimeoutMs}`;
    return withClient(this.pool, (client) =>
      withTransaction(client, { mode: 'ISOLATION LEVEL REPEATABLE READ READ ONLY', settings }, async () => {
        // A refusal is an answer: a table that is truncated and filled again meanwhile must not make a device look unknown.
        await lockTables(client, { reads: this.plan.scopeReads });
        const scopes = await resolveScopes(client, this.plan, macs);
        return scopes.map((scope) => (scope instanceof WaypostError ? scope : scopeKeyOf(this.plan, scope)));
      }),
    );
  }
}

function ownGroup(mac: string): string {
  return `none of ${mac}`;
}

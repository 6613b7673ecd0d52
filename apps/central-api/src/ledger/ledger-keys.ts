import { Inject, Injectable } from '@nestjs/common';
import { queryOn, withClient } from '@waypost/runtime';
import type pg from 'pg';
import { LEDGER_POOL } from '../database/pools.js';
import { type LedgerSigners, readLedgerKeys } from '../trust/read-ledger-keys.js';

/** The ledger's keys, shared by all replicas. The first one is made with its tables. */
@Injectable()
export class LedgerKeys {
  private knownFleet: string | undefined;

  constructor(@Inject(LEDGER_POOL) private readonly pool: pg.Pool) {}

  /** As the database has them now: a command or another replica may have replaced them. Devices ask for them once. */
  get(): Promise<LedgerSigners> {
    return withClient(this.pool, (client) => readLedgerKeys(queryOn(client)));
  }

  /** ULID of the fleet, which never changes. */
  async fleet(): Promise<string> {
    return (this.knownFleet ??= (await this.get()).fleet);
  }
}

import { Inject, Injectable } from '@nestjs/common';
import { queryOn, withClient } from '@waypost/runtime';
import type pg from 'pg';
import { LEDGER_POOL } from '../database/pools.js';
import { type LedgerSigners, readLedgerKeys } from './read-ledger-keys.js';

/** The ledger's keys. They are made with its tables, and shared by all replicas. */
@Injectable()
export class LedgerKeys {
  private loading: Promise<LedgerSigners> | undefined;

  constructor(@Inject(LEDGER_POOL) private readonly pool: pg.Pool) {}

  get(): Promise<LedgerSigners> {
    this.loading ??= withClient(this.pool, (client) => readLedgerKeys(queryOn(client))).catch((error: unknown) => {
      this.loading = undefined;
      throw error;
    });
    return this.loading;
  }
}

import { Inject, Injectable } from '@nestjs/common';
import { DATABASE_HEADER, databaseFingerprint } from '@waypost/contracts';
import { queryOn, TtlCache, readDatabaseIdentity, withClient } from '@waypost/runtime';
import type { FastifyReply } from 'fastify';
import type pg from 'pg';
import { STORE_POOL } from '../database/pools.js';

/** A database is seldom replaced under a running central, and answers do not wait for one that is away. */
const IDENTITY = { ttlMs: 60_000, timeoutMs: 1000 };

/** Tells devices which database central serves, so that none takes it for its own. */
@Injectable()
export class DatabaseIdentityHeader {
  private readonly fingerprint = new TtlCache(() => withClient(this.pool, fingerprintOf), IDENTITY);

  constructor(@Inject(STORE_POOL) private readonly pool: pg.Pool) {}

  /** Sets no header where the role may not read the server's identity. Never throws. */
  async addTo(reply: FastifyReply): Promise<void> {
    const fingerprint = await this.fingerprint.get();
    if (fingerprint) void reply.header(DATABASE_HEADER, fingerprint);
  }
}

async function fingerprintOf(client: pg.ClientBase): Promise<string | null> {
  const { mayIdentify, identity } = await readDatabaseIdentity(queryOn(client));
  return mayIdentify ? databaseFingerprint(identity) : null;
}

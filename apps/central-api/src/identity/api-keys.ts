import { timingSafeEqual } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { API_KEY, type Right, secretDigest, WaypostError } from '@waypost/contracts';
import { LOGGER, queryPrepared, withClient } from '@waypost/runtime';
import type pg from 'pg';
import type { Logger } from 'pino';
import { Batcher } from '../database/batcher.js';
import { IDENTITY_POOL } from '../database/pools.js';
import { FIND_API_KEYS, NOTE_USES } from './api-keys.sql.js';

/** A key in force. */
export interface ApiKey {
  id: string;
  name: string;
  rights: readonly Right[];
}

interface StoredKey extends ApiKey {
  digest: string;
  isRevoked: boolean;
  hasExpired: boolean;
  wasUsedNow: boolean;
}

const MAX_BATCH = 500;

/** The keys of programs. Nothing is kept: a revocation counts from the next request on. Requests that come together are looked up together. */
@Injectable()
export class ApiKeys {
  private readonly found = new Batcher<string, StoredKey | undefined>((ids) => this.findAll(ids), MAX_BATCH);
  private readonly uses = new Batcher<string, void>((ids) => this.noteAll(ids), MAX_BATCH);

  constructor(
    @Inject(IDENTITY_POOL) private readonly pool: pg.Pool,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * The key that a program shows. Its use is recorded once a minute, beside the request.
   * @throws WaypostError API_KEY_INVALID, whose cause says why
   */
  async authenticate(secret: string): Promise<ApiKey> {
    const id = idOf(secret);
    if (id === undefined) throw refused('it is not of the form wpk_…');
    const key = await this.found.do(id);
    if (!key || !isSame(key.digest, secretDigest(secret))) throw refused(`there is no such key (id ${id})`);
    if (key.isRevoked) throw refused(`it was revoked: ${key.name}`);
    if (key.hasExpired) throw refused(`it has expired: ${key.name}`);
    if (!key.wasUsedNow) this.uses.do(id).catch((err: unknown) => this.logger.warn({ err }, 'the use of an API key could not be recorded'));
    return key;
  }

  private async findAll(ids: string[]): Promise<(StoredKey | undefined)[]> {
    const rows = await withClient(this.pool, (client) => queryPrepared<StoredKey>(client, 'api keys', FIND_API_KEYS, [ids]));
    const found = new Map(rows.map((row) => [row.id, row]));
    return ids.map((id) => found.get(id));
  }

  private async noteAll(ids: string[]): Promise<void[]> {
    await withClient(this.pool, (client) => queryPrepared(client, 'uses of api keys', NOTE_USES, [ids]));
    return ids.map(() => undefined);
  }
}

/** The part of a key by which it is found, unchecked. */
export function idOf(secret: string): string | undefined {
  return API_KEY.exec(secret)?.[1];
}

/** In a time that does not depend on where they differ. @param a @param b digests of equal length */
export function isSame(a: string, b: string): boolean {
  return timingSafeEqual(Buffer.from(a), Buffer.from(b));
}

/** @param reason for the log */
function refused(reason: string): WaypostError {
  return new WaypostError('API_KEY_INVALID', { cause: new Error(reason) });
}

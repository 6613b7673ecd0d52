import { Inject, Injectable } from '@nestjs/common';
import type { Have } from '@waypost/contracts';
import { AdvisoryLock, ADVISORY_NAMESPACE, type Query, queryOn, LOGGER, sqlStateOf, SqlState, newId } from '@waypost/runtime';
import { LRUCache } from 'lru-cache';
import type pg from 'pg';
import type { Logger } from 'pino';
import { READ_CLUSTER, READ_STATE, WRITE_STATE } from './central-state.sql.js';
import { isProven } from './receipts.js';

/** What a device says to hold. */
export interface Claim {
  mac: string;
  have: Have | undefined;
}

interface State {
  /** Null where there is none, or where it was restored. */
  epoch: string | null;
  cluster: string | null;
  hadEpoch: boolean;
  /** Of all devices. */
  lastSequence: number;
  /** Null where the epoch has none. */
  receiptKey: Buffer | null;
}

/** What is in force. */
export interface Epoch {
  epoch: string;
  /** False where the database does not say which one it is: then it may be another one than before, and nothing in it can be called unchanged. */
  isKnown: boolean;
}

/** In the place of a database that does not say which one it is. */
const UNKNOWN = 'unknown';

/** Of how many devices it is remembered, for an hour, that their unproven claim was logged. */
const REMEMBERED_WARNINGS = { ttl: 3_600_000, max: 1000 };

/**
 * Knows the epoch: within one, sequences only grow. A new one starts when the database is another than before (copied, failed over: other system
 * identifier, timeline or database), when a dump was restored into it, or when a device proves by a receipt that the database went back in time:
 * it holds a manifest that it acknowledged, with a sequence that was not given out yet (docs/adr/0028).
 */
@Injectable()
export class EpochKeeper {
  private readonly clusters = new WeakMap<pg.ClientBase, string>();
  private readonly warned = new LRUCache<string, true>(REMEMBERED_WARNINGS);

  constructor(@Inject(LOGGER) private readonly logger: Logger) {}

  /** The epoch in force. Call it outside of a transaction. */
  async current(client: pg.ClientBase, claims: readonly Claim[]): Promise<Epoch> {
    const query = queryOn(client);
    const found = await this.readCluster(query);
    const cluster = found ?? UNKNOWN;
    const findCurrent = (): Promise<string | undefined> => this.findCurrent(query, cluster, claims);
    const epoch = (await findCurrent()) ?? (await this.startEpoch(client, cluster, findCurrent));
    return { epoch, isKnown: found !== undefined };
  }

  /** Which database this is; undefined where it does not say. A connection to one that does never comes to another one. */
  async clusterOf(client: pg.ClientBase): Promise<string | undefined> {
    const cluster = this.clusters.get(client) ?? (await this.readCluster(queryOn(client)));
    if (cluster !== undefined) this.clusters.set(client, cluster);
    return cluster;
  }

  private async findCurrent(query: Query, cluster: string, claims: readonly Claim[]): Promise<string | undefined> {
    const state = await this.readState(query);
    if (!state.epoch || state.cluster !== cluster) return undefined;
    return this.wentBack(state, claims) ? undefined : state.epoch;
  }

  private async startEpoch(client: pg.ClientBase, cluster: string, findCurrent: () => Promise<string | undefined>): Promise<string> {
    await client.query('SELECT pg_advisory_lock($1, $2)', [ADVISORY_NAMESPACE, AdvisoryLock.epoch]);
    try {
      const startedMeanwhile = await findCurrent();
      if (startedMeanwhile) return startedMeanwhile;
      const epoch = newId();
      const { hadEpoch } = await this.readState(queryOn(client));
      await client.query(WRITE_STATE, [epoch, cluster]);
      if (hadEpoch) this.logger.warn({ epoch, cluster }, 'a new epoch has started: this database was restored or replaced');
      else this.logger.info({ epoch, cluster }, 'the first epoch has started');
      return epoch;
    } finally {
      await client.query('SELECT pg_advisory_unlock($1, $2)', [ADVISORY_NAMESPACE, AdvisoryLock.epoch]);
    }
  }

  private async readState(query: Query): Promise<State> {
    const [state] = await query<State>(READ_STATE);
    return state as State;
  }

  /** Anyone can claim a sequence: only one that the device acknowledged, as its receipt shows, counts. */
  private wentBack({ epoch, lastSequence: last, receiptKey: key }: State, claims: readonly Claim[]): boolean {
    const ofEpoch = claims.flatMap(({ mac, have }) => (have?.epoch === epoch ? [{ mac, have }] : []));
    const ahead = ofEpoch.filter(({ have }) => have.sequence > last);
    const unproven = ahead.filter(({ mac, have }) => !key || !isProven(key, mac, have));
    for (const { mac, have } of unproven) this.warnOf(mac, have, last);
    return unproven.length < ahead.length;
  }

  private warnOf(mac: string, { sequence, epoch }: Have, lastSequence: number): void {
    if (this.warned.get(mac)) return;
    this.warned.set(mac, true);
    this.logger.warn(
      { mac, epoch, sequence, lastSequence, hint: 'See "A central that was replaced" in docs/operations.md.' },
      'a device claims a sequence that was never given out, without a receipt for it: if the database was restored, start a new epoch by hand',
    );
  }

  /** Where the server does not let us see its identity, xmin and devices' receipts remain as the way to notice a restore. */
  private async readCluster(query: Query): Promise<string | undefined> {
    try {
      const [row] = await query<{ cluster: string | null }>(READ_CLUSTER);
      return row?.cluster ?? undefined;
    } catch (error) {
      if (sqlStateOf(error) !== SqlState.insufficientPrivilege) throw error;
      return undefined;
    }
  }
}

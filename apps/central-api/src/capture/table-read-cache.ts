import { Inject, Injectable } from '@nestjs/common';
import { ChunkIndex, type ErrorCode, type RowFormat } from '@waypost/contracts';
import { sqlStateOf, SqlState } from '@waypost/runtime';
import { LRUCache } from 'lru-cache';
import type pg from 'pg';
import { DataSource } from 'typeorm';
import { SNAPSHOT_STORE, type SnapshotId, type SnapshotStore } from '../chunk-store/snapshot-store.js';
import { ChangeTracker, type Tracked } from './change-tracker.js';
import { type EarlierRead, findEarlierReads } from './changed-keys.js';
import {
  AWAIT_TABLE,
  FIND_FRESH,
  FIND_LAST,
  FIND_LATER,
  NOTE_READ,
  READ_DOUBTS,
  TOUCH_READS,
  TRY_LOCK_TABLES,
  UNLOCK_TABLE,
} from './table-read-cache.sql.js';
import { totalsOf } from '../chunk-store/totals.js';

/** A table that a snapshot needs. */
interface Wanted {
  /** In the plan. */
  name: string;
  /** Columns of its key. */
  key: readonly string[];
  /** Names all that decides its bytes, but rows and definitions. */
  readKey: string;
}

export interface Claim {
  /** What need not be read, by key: the chunks are stored, and hold what the query would give in the current transaction. */
  fresh: ReadonlyMap<string, ChunkIndex>;
  /** Keys of what others are reading, or have read since the transaction began. */
  inProgress: string[];
  /** Of what is to be read: how it was read earlier, and what has changed since; or why that is of no use. */
  earlier: ReadonlyMap<string, EarlierRead | string>;
}

/** How the current transaction finds what others have read, and leaves what it reads. */
export interface OpenReads {
  /** What the transaction sees. */
  readonly seen: string;
  claim(wanted: readonly Wanted[]): Promise<Claim>;
  put(table: Pick<Wanted, 'name' | 'readKey'>, index: ChunkIndex): Promise<void>;
}

interface OpenOptions {
  tracked: Tracked;
  epoch: string;
  /** False: what is missing is read at once, even while others read it. */
  waitsForReads: boolean;
  /** Those it is for: one of them that failed with what it got doubts what others read. */
  macs: readonly string[];
}

/** What a device fails with whose download is not what the manifest says. */
const DAMAGED: readonly ErrorCode[] = ['CHUNK_CORRUPT', 'SNAPSHOT_MISSING', 'VERIFICATION_FAILED'];
/** Once for each manifest and table in this time: a device that goes on failing, or that is impersonated, costs no more. */
const READ_AGAIN = { ttl: 3_600_000, max: 10_000 };

/** How long to wait for another read before looking whether it is still wanted. */
const LOOK_UP_MS = 1000;

/**
 * Tables that were read while their changes are captured, for all requests that need the same. A read is taken only if the query would give the same rows
 * in the transaction that takes it (docs/adr/0023). Each table is read by one at a time, across processes.
 */
@Injectable()
export class TableReadCache {
  /** Reads that were repeated for a device in doubt, by its manifest and the read's key. */
  private readonly readAgain = new LRUCache<string, true>(READ_AGAIN);

  constructor(
    private readonly dataSource: DataSource,
    @Inject(SNAPSHOT_STORE) private readonly store: SnapshotStore,
    private readonly tracker: ChangeTracker,
  ) {}

  /**
   * Call it in a REPEATABLE READ transaction, on a session that holds the store's lock shared. When something fails, the session must end, and its
   * locks of tables with it.
   * @returns nothing where definitions were altered since `tracked` was looked up
   */
  async open(client: pg.ClientBase, options: OpenOptions): Promise<OpenReads | undefined> {
    const { tracked, epoch } = options;
    const seen = await this.tracker.seenUnder(client, tracked);
    if (seen === undefined) return undefined;
    const doubts = await this.readDoubts(client, options.macs);
    let locked: ReadonlySet<string> = new Set();
    return {
      seen,
      claim: async (wanted) => {
        const fresh = await this.findFresh(client, wanted, { ...options, seen });
        const isDoubted = ({ readKey }: Wanted): boolean => doubts.some((manifestId) => !this.readAgain.get(`${manifestId} ${readKey}`));
        for (const table of wanted.filter(isDoubted)) fresh.delete(table.readKey);
        const missing = wanted.filter(({ readKey }) => !fresh.has(readKey));
        const keys = missing.map(({ readKey }) => readKey);
        if (options.waitsForReads && missing.length > 0) locked = await this.lock(client, keys, { ...options, seen });
        const inProgress = options.waitsForReads ? keys.filter((key) => !locked.has(key)) : [];
        const open = missing.filter(({ readKey }) => !inProgress.includes(readKey));
        const due = open.filter((table) => !isDoubted(table));
        await this.forgetDamaged(client, open.filter(isDoubted));
        return { fresh, inProgress, earlier: due.length > 0 ? await findEarlierReads(client, due, options) : new Map() };
      },
      put: async ({ name, readKey }, index) => {
        const { sha256 } = totalsOf(index);
        const sources = tracked.tablesOf.get(name);
        // On another connection: it is committed at once, and others need not wait for the rest of this snapshot.
        await this.dataSource.query(NOTE_READ, [readKey, epoch, tracked.fingerprint, sha256, index.format, sources, seen]);
        for (const manifestId of doubts) this.readAgain.set(`${manifestId} ${readKey}`, true);
        if (locked.has(readKey)) await client.query(UNLOCK_TABLE, [readKey]);
      },
    };
  }

  /** Returns when others' reads are done. Call it while no table's lock is held, and outside of a transaction. */
  async awaitOthers(client: pg.ClientBase, keys: readonly string[], signal: AbortSignal): Promise<void> {
    await client.query(`SET lock_timeout = ${LOOK_UP_MS}`);
    for (const key of keys) {
      while (!(await isReleased(client, key))) signal.throwIfAborted();
    }
  }

  /** A device that failed with what it got has its tables read once more. Others keep what they share, until that read says otherwise. */
  private async readDoubts(client: pg.ClientBase, macs: readonly string[]): Promise<string[]> {
    const { rows } = await client.query<{ manifestId: string }>(READ_DOUBTS, [macs, DAMAGED]);
    return rows.map(({ manifestId }) => manifestId);
  }

  /** What is read in doubt must count on no stored chunk that is damaged. */
  private async forgetDamaged(client: pg.ClientBase, doubted: readonly Wanted[]): Promise<void> {
    if (doubted.length === 0) return;
    const { rows } = await client.query<SnapshotId>(FIND_LAST, [doubted.map(({ readKey }) => readKey)]);
    for (const id of rows) await this.store.forgetDamaged(id);
  }

  /** @returns keys of the tables that this session may read */
  private async lock(
    client: pg.ClientBase,
    keys: readonly string[],
    { epoch, tracked, seen }: Omit<OpenOptions, 'macs'> & { seen: string },
  ): Promise<Set<string>> {
    const { rows } = await client.query<{ key: string }>(TRY_LOCK_TABLES, [keys]);
    const locked = new Set(rows.map(({ key }) => key));
    if (locked.size === 0) return locked;
    // Others may have finished between this transaction's first look and its lock: what they have put, it cannot see.
    const later = await this.dataSource.query<{ key: string }[]>(FIND_LATER, [[...locked], epoch, tracked.fingerprint, seen]);
    for (const { key } of later) {
      locked.delete(key);
      await client.query(UNLOCK_TABLE, [key]);
    }
    return locked;
  }

  private async findFresh(
    client: pg.ClientBase,
    wanted: readonly Wanted[],
    { epoch, tracked, seen }: Omit<OpenOptions, 'macs'> & { seen: string },
  ): Promise<Map<string, ChunkIndex>> {
    type Row = { key: string; sha256: string; format: RowFormat; isIdle: boolean };
    const { rows } = await client.query<Row>(FIND_FRESH, [wanted.map(({ readKey }) => readKey), epoch, tracked.fingerprint]);
    const fresh = new Map<string, ChunkIndex>();
    for (const { key, ...id } of rows) {
      const stored = await this.store.find(id);
      if (stored) fresh.set(key, ChunkIndex.decode(stored.index));
    }
    const idle = rows.filter(({ key, isIdle }) => isIdle && fresh.has(key));
    if (idle.length > 0) {
      const [keys, hashes] = [idle.map(({ key }) => key), idle.map(({ sha256 }) => sha256)];
      await this.dataSource.query(TOUCH_READS, [keys, hashes, seen, epoch, tracked.fingerprint]);
    }
    return fresh;
  }
}

async function isReleased(client: pg.ClientBase, key: string): Promise<boolean> {
  try {
    await client.query(AWAIT_TABLE, [key]);
    return true;
  } catch (error) {
    if (sqlStateOf(error) === SqlState.lockNotAvailable) return false;
    throw error;
  }
}

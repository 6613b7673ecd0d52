import { Inject, Injectable } from '@nestjs/common';
import type { Have, Manifest } from '@waypost/contracts';
import { queryPrepared, addContext, withClient } from '@waypost/runtime';
import pg from 'pg';
import { RequestAudit, type RequestFacts } from '../audit/request-audit.js';
import { Batcher } from '../database/batcher.js';
import { POLL_POOL } from '../database/pools.js';
import { EpochKeeper } from '../epochs/epoch-keeper.js';
import { catalogParameters, ChangeTracker } from '../capture/change-tracker.js';
import { ManifestCache } from './manifest-cache.js';
import { MANIFEST_OPTIONS, type ManifestOptions } from './manifest-options.js';
import { ANSWER_UNCHANGED, READ_CIRCUMSTANCES } from './unchanged.sql.js';
import { NOTE_SEEN } from './manifests.sql.js';

/** What a device holds, and should hold. */
export interface Unchanged {
  manifestId: string;
  sha256: string;
  /** Left out where the device keeps its own. */
  manifest?: Manifest | undefined;
}

interface Poll {
  facts: RequestFacts;
  have: Have;
  isMinimal: boolean;
}

interface Circumstances {
  fingerprint: string;
  epoch: string | null;
  cluster: string | null;
  lastSequence: string;
  hasFinding: boolean;
}

/** One statement's work; more polls than that wait for the next. */
const MAX_BATCH = 500;

/**
 * Tells that a device is up to date without reading any of its tables. Polls that arrive while others are looked up make the next batch:
 * a poll never gets an answer that is older than itself.
 */
@Injectable()
export class UnchangedLookup {
  private readonly manifests = new ManifestCache();
  private readonly polls = new Batcher<Poll, Unchanged | undefined>((polls) => this.answerBatch(polls), MAX_BATCH);

  constructor(
    @Inject(MANIFEST_OPTIONS) private readonly options: ManifestOptions,
    @Inject(POLL_POOL) private readonly pool: pg.Pool,
    private readonly tracker: ChangeTracker,
    private readonly epochs: EpochKeeper,
    private readonly audit: RequestAudit,
  ) {}

  /**
   * The manifest that the device holds, already audited, if that is its last one, lives long enough, and no change to anything it came from was committed
   * since. Undefined in every case of doubt: then nothing is audited.
   * @param isMinimal the manifest itself is not needed
   */
  async find(facts: RequestFacts, isMinimal: boolean): Promise<Unchanged | undefined> {
    const { have } = facts;
    if (!this.tracker.isWanted || !have) return undefined;
    const found = await this.polls.do({ facts, have, isMinimal });
    if (found) {
      addContext({ manifestId: found.manifestId });
      this.audit.count(facts, 'unchanged');
    }
    return found;
  }

  /** The manifest is not enough any more, whatever changed or did not: the next request of its device reads the tables. */
  async forget(manifestId: string): Promise<void> {
    await withClient(this.pool, (client) => client.query(NOTE_SEEN, [[manifestId], null, null]));
  }

  private async answerBatch(polls: readonly Poll[]): Promise<(Unchanged | undefined)[]> {
    const found = await withClient(this.pool, (client) => this.answer(client, polls));
    return polls.map(({ facts }) => found.get(facts.requestId));
  }

  /** @returns by request id */
  private async answer(client: pg.PoolClient, polls: readonly Poll[]): Promise<Map<string, Unchanged>> {
    const known = this.tracker.lastKnown;
    if (!known) return new Map();
    // Definitions first: what is altered after this is found by the next poll.
    const [now] = await queryPrepared<Circumstances>(client, 'circumstances', READ_CIRCUMSTANCES, catalogParameters(known));
    if (!now?.epoch || !this.tracker.isCurrent(now.fingerprint)) return new Map();
    const cluster = await this.epochs.clusterOf(client);
    // Another database, or one that does not say which it is: what was recorded may not be what happened here.
    if (cluster === undefined || now.cluster !== cluster) return new Map();
    // A change was missed: nothing is unchanged before an operator has looked.
    if (now.hasFinding) return new Map();
    const asked = polls.filter(({ have }) => have.epoch === now.epoch && have.sequence <= Number(now.lastSequence));
    if (asked.length === 0) return new Map();
    const rows = await queryPrepared<{ requestId: string; sha256: string }>(client, 'unchanged', ANSWER_UNCHANGED, [
      asked.map(({ facts }) => facts.mac),
      asked.map(({ have }) => have.manifestId),
      asked.map(({ facts }) => facts.requestedAt),
      asked.map(({ facts }) => facts.durationMs),
      asked.map(({ facts }) => facts.requestId),
      asked.map(({ facts }) => facts.cycleId),
      now.epoch,
      known.fingerprint,
      known.tables,
      new Date(),
      this.options.ttlMs,
    ]);
    const hashes = new Map(rows.map(({ requestId, sha256 }) => [requestId, sha256]));
    const unchanged = asked.filter(({ facts }) => hashes.has(facts.requestId));
    const manifests = await this.manifests.get(
      client,
      unchanged.filter(({ isMinimal }) => !isMinimal).map(({ have }) => have.manifestId),
    );
    return new Map(
      unchanged.map(({ facts: { requestId }, have: { manifestId } }) => [
        requestId,
        { manifestId, sha256: hashes.get(requestId) as string, manifest: manifests.get(manifestId) },
      ]),
    );
  }
}

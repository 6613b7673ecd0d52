import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { LOGGER, queryPrepared, withClient, withoutContext } from '@waypost/runtime';
import { PeriodicTasks, type StartedTask } from '@waypost/runtime/service';
import type pg from 'pg';
import type { Logger } from 'pino';
import { LEDGER_POOL } from '../database/pools.js';
import { SyncMetrics } from '../metrics/sync-metrics.js';
import { appendEntries } from './append-entries.js';
import { LedgerCheckpoints } from './ledger-checkpoints.js';
import { READ_LEDGER_STATE } from './ledger.sql.js';
import { recordPolls } from './record-polls.js';

/** The row of READ_LEDGER_STATE. */
interface LedgerState {
  size: number | null;
  note: string | null;
  hasQueue: boolean;
  queueAgeS: number | null;
  brokenChains: number;
  forks: number;
  hasPolls: boolean;
}

/** What other processes appended is noticed after so long. */
const LOOK_MS = 1000;
/** What comes within it is one batch. */
const GATHER_MS = 50;

/** Appends what waits in the queue, whichever process wrote it: one process at a time, many entries in one transaction. */
@Injectable()
export class LedgerAppender implements OnApplicationBootstrap {
  private task: StartedTask | undefined;
  private last: LedgerState | undefined;

  constructor(
    @Inject(LEDGER_POOL) private readonly pool: pg.Pool,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly checkpoints: LedgerCheckpoints,
    private readonly tasks: PeriodicTasks,
    metrics: SyncMetrics,
  ) {
    const of = (name: keyof LedgerState) => () => Number(this.last?.[name] ?? NaN);
    metrics.gauge('waypost_central_ledger_entries', 'Entries of the ledger.', () => checkpoints.size);
    const chains = 'Keys of devices whose receipts have a gap, or were made twice; NaN if unknown.';
    metrics.gauge('waypost_central_ledger_broken_chains', chains, of('brokenChains'));
    const forks = 'Reports of devices that the ledger does not continue what they saw, and that no operator has resolved; NaN if unknown.';
    metrics.gauge('waypost_central_ledger_forks', forks, of('forks'));
    const age = 'Age of the oldest receipt that is not in the ledger yet; 0 where none waits.';
    metrics.gauge('waypost_central_ledger_queue_age_seconds', age, () => this.last?.queueAgeS ?? 0);
  }

  onApplicationBootstrap(): void {
    this.task = this.tasks.start({
      name: 'ledger',
      run: (signal) => this.run(signal),
      waitMs: LOOK_MS,
      failure: 'the ledger could not be appended to; what waits is kept',
    });
  }

  /** Something was queued. */
  wake(): void {
    this.task?.runIn(GATHER_MS);
  }

  /** As of a second ago; undefined before the first look. */
  get state(): Pick<LedgerState, 'queueAgeS' | 'brokenChains' | 'forks'> | undefined {
    return this.last;
  }

  /** Appends until nothing waits. */
  async run(signal?: AbortSignal): Promise<void> {
    await withClient(this.pool, async (client) => {
      for (let more = true; more && !signal?.aborted;) more = await this.step(client);
    });
  }

  /** @returns whether there may be more to do */
  private async step(client: pg.PoolClient): Promise<boolean> {
    const state = await this.look(client);
    const counted = state.hasPolls && (await recordPolls(client));
    if (!state.hasQueue && !counted) return false;
    const appended = await appendEntries(client);
    if (!appended) return false;
    for (const finding of appended.findings)
      withoutContext(() => this.logger.error(finding, 'a receipt does not continue those before it of the same key'));
    if (appended.checkpoint) this.checkpoints.note(appended.checkpoint);
    if (!appended.isFull && !counted) await this.look(client);
    return appended.isFull || counted;
  }

  private async look(client: pg.PoolClient): Promise<LedgerState> {
    const [state] = await queryPrepared<LedgerState>(client, 'ledger state', READ_LEDGER_STATE, []);
    if (!state) throw new Error('a statement that always gives a row gave none');
    this.last = state;
    const { size, note } = state;
    if (size !== null && note !== null) this.checkpoints.note({ size, note });
    return state;
  }
}

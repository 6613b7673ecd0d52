import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { type Manifest, WaypostError } from '@waypost/contracts';
import { LOGGER, pause, traced, withClient, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import type { Logger } from 'pino';
import { shuttingDown } from '../central/race-abort.js';
import { CycleRunner } from '../cycle/cycle-runner.js';
import { Database } from '../database/database.js';
import type { ScrubTrigger } from '../database/entities/scrub.entity.js';
import { Metrics } from '../metrics/metrics.js';
import type { CycleReport } from '../phase/cycle.js';
import { HeldManifest } from '../state/held-manifest.js';
import { readApplied } from '../state/mirror-state.js';
import { SyncStatus } from '../status/sync-status.js';
import { isRepairDue, maxScrubsPerRepair } from './repair-due.js';
import { readSlice, type Slice } from './read-slice.js';
import type { Drift } from '../state/record-drift.js';
import { type Scrub, ScrubLog } from './scrub-log.js';
import { SCRUB_OPTIONS, type ScrubOptions } from './scrub-options.js';

/** The pause after a slice of a scheduled scrub, in durations of the slice: the device has other work. */
const PAUSE_FACTOR = 9;
/** How long a repair waits before it asks again whether the cycle that runs has ended. */
const BUSY_MS = 500;
/** How long it waits for the database, such as just after a start. */
const DATABASE_MAX_WAIT_MS = 5000;
/** How soon the timer looks again whether the database is ready. */
const DATABASE_RETRY_MS = 1000;
/** One that was interrupted longer ago starts over. */
const MAX_UNFINISHED_MS = 7 * 86_400_000;

/** One that is under way. */
interface Running {
  trigger: ScrubTrigger;
  stop: AbortController;
  done: Promise<ScrubReport>;
}

/** What a scrub read and found. */
export interface ScrubReport extends Omit<Scrub, 'progress'> {
  durationMs: number;
  drifts: Drift[];
  /** The cycle that put right what had drifted. */
  repair?: CycleReport;
}

/**
 * Reads all rows that the device holds and compares them with what was verified last, chunk by chunk. What differs is recorded, and put right by a cycle.
 * One scrub at a time. A scheduled one goes on with one that was interrupted; one that was asked for reads everything now, and a scheduled one that is under way
 * gives way to it.
 */
@Injectable()
export class Scrubber implements OnModuleDestroy {
  private isStopping = false;
  private current: Running | undefined;

  constructor(
    @Inject(SCRUB_OPTIONS) private readonly options: ScrubOptions,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly database: Database,
    private readonly scrubs: ScrubLog,
    private readonly held: HeldManifest,
    private readonly runner: CycleRunner,
    private readonly status: SyncStatus,
    private readonly metrics: Metrics,
  ) {}

  /**
   * @param trigger a scheduled one works a tenth of the time
   * @throws WaypostError SCRUB_RUNNING where one that was asked for is running, or this one had to give way to such; NOTHING_HELD before the first sync; DATABASE_UNAVAILABLE, SHUTTING_DOWN
   */
  async run(trigger: ScrubTrigger): Promise<ScrubReport> {
    while (this.current) {
      if (trigger === 'schedule' || this.current.trigger === 'request') throw new WaypostError('SCRUB_RUNNING');
      this.current.stop.abort(new WaypostError('SCRUB_RUNNING'));
      await this.current.done.catch(() => undefined);
    }
    if (this.isStopping) throw shuttingDown();
    const stop = new AbortController();
    const { signal } = stop;
    const done = traced('scrub', { root: true, attributes: { 'waypost.trigger': trigger } }, () => this.scrub(trigger, signal));
    const running = { trigger, stop, done };
    this.current = running;
    try {
      return await done;
    } catch (error) {
      if (!signal.aborted) this.metrics.scrubs.inc({ result: 'failed' });
      signal.throwIfAborted();
      throw error;
    } finally {
      this.current = undefined;
    }
  }

  /** How long until the next scheduled one; 0 where one was interrupted. Short while the database is away. */
  async findDueMs(intervalMs: number): Promise<number> {
    return this.database.ready ? this.scrubs.findDueMs(intervalMs, MAX_UNFINISHED_MS) : DATABASE_RETRY_MS;
  }

  async onModuleDestroy(): Promise<void> {
    this.isStopping = true;
    this.current?.stop.abort(shuttingDown());
    await this.current?.done.catch(() => undefined);
  }

  private async scrub(trigger: ScrubTrigger, signal: AbortSignal): Promise<ScrubReport> {
    const startMs = performance.now();
    await this.database.whenReady(DATABASE_MAX_WAIT_MS);
    if ((await withClient(this.database.pool, (client) => this.findManifest(client))) === undefined) throw new WaypostError('NOTHING_HELD');
    const scrub = await this.scrubs.begin(trigger, MAX_UNFINISHED_MS);
    this.logger.info({ scrubId: scrub.id, trigger, tables: scrub.tables }, scrub.tables > 0 ? 'scrub goes on' : 'scrub started');
    for (let table = await this.next(scrub); table !== undefined; table = await this.next(scrub)) {
      await this.readTable(scrub, table, { trigger, signal });
    }
    await this.scrubs.record(scrub, true);
    const drifts = await this.scrubs.findDrifts(scrub);
    await this.status.scrubbed(await this.scrubs.findRepeated(scrub));
    const repair = drifts.length > 0 && (await this.hasDue(trigger, scrub, drifts)) ? await this.repair(scrub, signal) : undefined;
    const { progress: _, ...facts } = scrub;
    const report = { ...facts, durationMs: Math.round(performance.now() - startMs), drifts, ...(repair ? { repair } : {}) };
    this.metrics.scrubs.inc({ result: drifts.length > 0 ? 'drifted' : 'clean' });
    this.logger.info({ scrubId: scrub.id, ...facts, drifts: drifts.length, durationMs: report.durationMs }, 'scrub finished');
    return report;
  }

  /** The next table that is not done. */
  private async next({ progress }: Scrub): Promise<string | undefined> {
    const manifest = await withClient(this.database.pool, (client) => this.findManifest(client));
    const { reading } = progress;
    const names = (manifest?.tables ?? []).map(({ name }) => name);
    return reading && names.includes(reading.table) ? reading.table : names.find((name) => !progress.done.includes(name));
  }

  private async readTable(scrub: Scrub, table: string, { trigger, signal }: { trigger: ScrubTrigger; signal: AbortSignal }): Promise<void> {
    const { progress } = scrub;
    const reading = progress.reading?.table === table ? progress.reading : { table, since: new Date().toISOString(), keys: [] as string[] };
    let isWhole = true;
    for (let keys: string[] | undefined = reading.keys; keys;) {
      signal.throwIfAborted();
      const startedAt = performance.now();
      const slice: Slice | undefined = await this.readSlice(table, keys, signal);
      isWhole &&= slice !== undefined;
      for (const drift of slice?.drifts ?? []) await this.found(trigger, scrub, drift);
      scrub.chunks += slice?.chunks ?? 0;
      scrub.rows += slice?.rows ?? 0;
      scrub.rawBytes += slice?.rawBytes ?? 0;
      keys = slice?.keys;
      if (keys) progress.reading = { ...reading, keys };
      await this.scrubs.record(scrub);
      if (trigger === 'schedule' && keys) await pause(PAUSE_FACTOR * (performance.now() - startedAt), signal);
    }
    delete progress.reading;
    progress.done.push(table);
    scrub.tables += 1;
    const drifted = (await this.scrubs.findDrifts(scrub)).some((drift) => drift.table === table);
    if (isWhole && !drifted) await this.scrubs.recordWhole(table, reading.since);
    await this.scrubs.record(scrub);
  }

  /** Rows and the list of chunks are of one moment, whatever cycle runs meanwhile. */
  private async readSlice(table: string, keys: readonly string[], signal: AbortSignal): Promise<Slice | undefined> {
    return withClient(this.database.pool, (client) =>
      withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
        const manifest = await this.findManifest(client);
        return manifest && readSlice(client, manifest, { table, keys }, signal);
      }),
    );
  }

  private async findManifest(client: pg.ClientBase): Promise<Manifest | undefined> {
    const applied = await readApplied(client);
    return applied && this.held.find(client, applied);
  }

  private async found(trigger: ScrubTrigger, scrub: Scrub, drift: Drift): Promise<void> {
    await this.scrubs.recordDrift(scrub, drift, await this.isDue(trigger, scrub, drift));
    this.metrics.driftedChunks.inc(drift.chunks);
    this.logger.error({ scrubId: scrub.id, ...drift }, 'rows of the mirror are not those that were verified last');
  }

  /** Rows that drift scrub after scrub are put right less and less often, unless an operator asks: else the device would do nothing but that. */
  private async isDue(trigger: ScrubTrigger, scrub: Scrub, drift: Drift): Promise<boolean> {
    const maxScrubs = maxScrubsPerRepair(this.options.intervalMs);
    return trigger === 'request' || maxScrubs === 1 || isRepairDue(await this.scrubs.countStreak(scrub, drift), maxScrubs);
  }

  private async hasDue(trigger: ScrubTrigger, scrub: Scrub, drifts: readonly Drift[]): Promise<boolean> {
    for (const drift of drifts) if (await this.isDue(trigger, scrub, drift)) return true;
    this.logger.warn(
      { scrubId: scrub.id, drifts: drifts.length },
      'the same rows have drifted again and again: they are put right by a later scrub',
    );
    return false;
  }

  /** The next cycle reads the tables again and replaces what differs; it need not wait for its time. */
  private async repair(scrub: Scrub, signal: AbortSignal): Promise<CycleReport> {
    for (;;) {
      try {
        const report = await this.runner.run({ trigger: 'scrub', verify: false });
        await this.scrubs.recordRepair(scrub, report.cycleId);
        return report;
      } catch (error) {
        if (!(error instanceof WaypostError) || error.code !== 'SYNC_RUNNING') throw error;
        await pause(BUSY_MS, signal);
        signal.throwIfAborted();
      }
    }
  }
}

import { Inject, Injectable } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import { queryPrepared, faultPoint, newId } from '@waypost/runtime';
import { toWaypostError } from '@waypost/runtime/service';
import type pg from 'pg';
import type { AckCounts } from '../acks/ack-channel.js';
import { AckOutbox } from '../acks/ack-outbox.js';
import { SendAcks } from '../acks/send-acks.js';
import { SyncLog } from '../audit/sync-log.js';
import { shuttingDown } from '../central/race-abort.js';
import type { Applied, Cycle } from '../phase/cycle.js';
import { CYCLE_PHASES, type CyclePhase, type OpenCycle } from '../phase/cycle-phase.js';
import { parseAppliedState } from '../state/mirror-state.js';
import { OPEN_CYCLE } from './cycle.sql.js';

/** The row of OPEN_CYCLE. */
interface OpenedRow extends AckCounts {
  interrupted: number;
  state: Record<string, string> | null;
}

/** One cycle: records its start, runs its phases in order, records a failure. */
@Injectable()
export class SyncCycle {
  constructor(
    @Inject(CYCLE_PHASES) private readonly phases: readonly CyclePhase[],
    private readonly audit: SyncLog,
    private readonly acks: AckOutbox,
    private readonly sending: SendAcks,
  ) {}

  /** @param isReplaced the database is another one than in the cycle before, or lost Waypost's tables */
  async run(cycle: Cycle, client: pg.PoolClient, isReplaced: boolean): Promise<Applied> {
    if (isReplaced) await this.recordReplacement(cycle);
    const open: OpenCycle = { cycle, client, ...(await this.begin(cycle, client)) };
    try {
      for (const phase of this.phases) await phase.run(open);
      if (!open.applied) throw new Error('no phase has updated the mirror');
      return open.applied;
    } catch (thrown) {
      const error = cycle.stop.aborted && !(thrown instanceof WaypostError) ? shuttingDown() : toWaypostError(thrown);
      await this.recordFailure(cycle, error);
      throw error;
    }
  }

  /** The device may start from nothing: the audit says why. */
  private async recordReplacement({ startedAt, trigger, log }: Cycle): Promise<void> {
    for (const phase of this.phases) phase.reset?.();
    const error = new WaypostError('DATABASE_REPLACED');
    log.warn({ err: error }, 'the database was replaced: Waypost made its tables again');
    const outcome = { cycleId: newId(), startedAt, trigger, durationMs: 0, manifestId: undefined, downloadedBytes: 0, rowsLoaded: 0 };
    await this.audit.fail({ ...outcome, status: 'Failed', error: { code: error.code, text: error.message } });
  }

  private async begin({ cycleId, trigger, log }: Cycle, client: pg.PoolClient): Promise<Pick<OpenCycle, 'before' | 'pendingAcks'>> {
    await this.audit.flushFailures();
    const [opened] = await queryPrepared<OpenedRow>(client, 'open', OPEN_CYCLE, [cycleId, trigger]);
    const { interrupted, state, ...acks } = opened as OpenedRow;
    if (interrupted > 0) log.warn({ interrupted }, 'an earlier cycle was interrupted');
    const pendingAcks = this.acks.counted(acks);
    await faultPoint('edge.cycle-begun');
    return { before: parseAppliedState(state), pendingAcks };
  }

  private async recordFailure(cycle: Cycle, error: WaypostError): Promise<void> {
    const { cycleId, startedAt, trigger, progress, log } = cycle;
    const { manifestId, downloadedBytes } = progress;
    const durationMs = cycle.elapsedMs();
    try {
      const text = `${error.message} Hint: ${error.hint}`;
      const outcome = {
        cycleId,
        startedAt,
        trigger,
        durationMs,
        manifestId,
        downloadedBytes,
        rowsLoaded: 0,
        error: { code: error.code, text },
      };
      // What was committed stays a success, whatever failed after it: its ack is in the outbox already.
      if (await this.audit.fail({ ...outcome, status: 'Failed' })) {
        if (manifestId === undefined || !concernsCentral(error)) return;
        await this.acks.queueFailure(manifestId, error, durationMs);
      }
      await this.sending.acknowledge(cycle);
    } catch (cause) {
      log.warn({ err: cause }, 'the failure could not be recorded');
    }
  }
}

/** Whether central is told: it does not know of the failure, and can be reached. */
function concernsCentral({ code, heals }: WaypostError): boolean {
  const untold = [
    'CENTRAL_UNREACHABLE',
    'CENTRAL_UNTRUSTED',
    'CENTRAL_REFUSED',
    'CENTRAL_BUSY',
    'TOO_MANY_REQUESTS',
    'TRANSFER_STALLED',
    'DEADLINE_EXCEEDED',
    'SHUTTING_DOWN',
    'DATABASE_UNAVAILABLE',
    'DATABASE_READ_ONLY',
  ];
  return heals !== 'resnapshot' && !untold.includes(code);
}

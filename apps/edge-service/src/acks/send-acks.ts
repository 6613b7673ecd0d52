import { Injectable } from '@nestjs/common';
import type { Cycle } from '../phase/cycle.js';
import type { CyclePhase, OpenCycle } from '../phase/cycle-phase.js';
import { CycleSteps } from '../phase/cycle-steps.js';
import { AckOutbox } from './ack-outbox.js';

/** Sends what waits in the outbox, as a step of a cycle. */
@Injectable()
export class SendAcks {
  constructor(
    private readonly acks: AckOutbox,
    private readonly steps: CycleSteps,
  ) {}

  /** @returns how many could not be sent */
  async run(cycle: Cycle): Promise<number> {
    const { next, pending } = await this.acks.findNext();
    return next === undefined ? 0 : this.steps.run(cycle, 'acks', { pending }, () => this.acks.send(next, cycle.stop));
  }

  /** Sends the cycle's own ack. Does not throw: an ack that could not be sent is in the database, and the next cycle sends it. */
  async acknowledge(cycle: Cycle): Promise<void> {
    cycle.progress.ack = 'queued';
    try {
      if ((await this.run(cycle)) === 0) cycle.progress.ack = 'sent';
    } catch (error) {
      cycle.log.warn({ err: error }, 'the ack stays queued');
    }
  }
}

/** Acknowledgements of earlier cycles go first. */
@Injectable()
export class SendPendingAcks implements CyclePhase {
  constructor(private readonly sending: SendAcks) {}

  async run({ cycle, pendingAcks }: OpenCycle): Promise<void> {
    if (pendingAcks > 0) await this.sending.run(cycle);
  }
}

/** Acknowledges what this cycle applied. */
@Injectable()
export class SendNewAck implements CyclePhase {
  constructor(private readonly sending: SendAcks) {}

  async run({ cycle, applied }: OpenCycle): Promise<void> {
    if (applied?.acknowledge) await this.sending.acknowledge(cycle);
  }
}

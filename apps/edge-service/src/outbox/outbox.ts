import { type ErrorCode, WaypostError } from '@waypost/contracts';
import { RefusedAnswer } from '../central/central-errors.js';

/** One kind of message to central: where it waits, how it is sent. */
export interface OutboxChannel<Message, Answer> {
  /** Refusals that concern the message itself: central would refuse it again. */
  readonly finalCodes: readonly ErrorCode[];
  /** The oldest message that waits. One that was refused for good does not wait. */
  findNext(): Promise<Message | undefined>;
  /** Central must accept repeats: when an answer is lost, its message is sent again. */
  send(message: Message, signal: AbortSignal): Promise<Answer>;
  /** Removes a message that central has. @returns as findNext */
  markSent(message: Message, answer: Answer): Promise<Message | undefined>;
  /** Keeps the message: for the operator when it was refused for good, else to be sent again. */
  markUnsent(message: Message, error: WaypostError, isFinal: boolean): Promise<void>;
}

/**
 * Sends messages that wait in the device's database: in order, one at a time, each until central has answered it. One that central refuses
 * for good is set aside and does not hold up the others. Only one process may send at a time, such as the one that holds the cycle lock.
 */
export class Outbox<Message, Answer> {
  constructor(private readonly channel: OutboxChannel<Message, Answer>) {}

  /**
   * Sends until nothing waits, central cannot be reached, or `signal` fires. Central's errors are recorded, not thrown.
   * @param first what findNext returned
   */
  async flush(first: Message | undefined, signal: AbortSignal): Promise<void> {
    for (let next = first; next !== undefined;) next = await this.sendOne(next, signal);
  }

  /** @returns the next one that is to be sent */
  private async sendOne(message: Message, signal: AbortSignal): Promise<Message | undefined> {
    try {
      return await this.channel.markSent(message, await this.channel.send(message, signal));
    } catch (error) {
      if (!(error instanceof WaypostError)) throw error;
      if (error.code === 'SHUTTING_DOWN') return undefined;
      const isFinal = this.isFinal(error);
      await this.channel.markUnsent(message, error, isFinal);
      return isFinal ? this.channel.findNext() : undefined;
    }
  }

  /** Anything else, such as the 404 of a proxy, a captive portal or a mistyped CENTRAL_URL, passes, and the message waits until then. */
  private isFinal({ cause }: WaypostError): boolean {
    return cause instanceof RefusedAnswer && cause.status < 500 && this.channel.finalCodes.some((code) => code === cause.code);
  }
}

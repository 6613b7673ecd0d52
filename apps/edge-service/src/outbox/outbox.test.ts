import { type ErrorCode, WaypostError } from '@waypost/contracts';
import { RefusedAnswer } from '../central/central-errors.js';
import { Outbox, type OutboxChannel } from './outbox.js';

/** Messages in memory; what stands in `faults` is thrown in place of an answer. */
class TestChannel implements OutboxChannel<string, string> {
  readonly finalCodes: readonly ErrorCode[] = ['REQUEST_INVALID'];
  readonly asked: string[] = [];
  readonly refused: string[] = [];

  constructor(
    readonly waiting: string[],
    private readonly faults: Record<string, Error>,
  ) {}

  async findNext(): Promise<string | undefined> {
    return this.waiting[0];
  }

  async send(message: string): Promise<string> {
    this.asked.push(message);
    if (this.faults[message]) throw this.faults[message];
    return `answer to ${message}`;
  }

  async markSent(message: string, answer: string): Promise<string | undefined> {
    expect(answer).toBe(`answer to ${message}`);
    this.waiting.shift();
    return this.waiting[0];
  }

  async markUnsent(message: string, _error: WaypostError, isFinal: boolean): Promise<void> {
    if (isFinal) this.refused.push(...this.waiting.splice(0, 1));
    else expect(this.waiting[0]).toBe(message);
  }
}

const refusal = (status: number, code?: string): WaypostError =>
  new WaypostError('CENTRAL_REFUSED', { cause: new RefusedAnswer(status, code) });

async function flush(faults: Record<string, Error>): Promise<Pick<TestChannel, 'asked' | 'waiting' | 'refused'>> {
  const channel = new TestChannel(['a', 'b', 'c'], faults);
  await new Outbox(channel).flush(await channel.findNext(), new AbortController().signal);
  const { asked, waiting, refused } = channel;
  return { asked, waiting, refused };
}

test('messages are sent in order until none waits', async () => {
  expect(await flush({})).toEqual({ asked: ['a', 'b', 'c'], waiting: [], refused: [] });
});

test('a message that central refuses for good is set aside, and the next is sent', async () => {
  expect(await flush({ b: refusal(400, 'REQUEST_INVALID') })).toEqual({ asked: ['a', 'b', 'c'], waiting: [], refused: ['b'] });
});

test.each([
  ['central cannot be reached', new WaypostError('CENTRAL_UNREACHABLE')],
  ['another code refuses it', refusal(403, 'DEVICE_UNKNOWN')],
  ['a proxy refuses it', refusal(404)],
  ['central fails', refusal(500, 'REQUEST_INVALID')],
  ['the service stops', new WaypostError('SHUTTING_DOWN')],
])('the message and those behind it wait where %s', async (_case, fault) => {
  expect(await flush({ b: fault })).toEqual({ asked: ['a', 'b'], waiting: ['b', 'c'], refused: [] });
});

test('an error that is not of central is thrown', async () => {
  await expect(flush({ a: new TypeError('a defect') })).rejects.toThrow('a defect');
});

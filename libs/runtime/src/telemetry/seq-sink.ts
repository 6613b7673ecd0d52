import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { LineSink } from './logging.js';
import { toClef } from './clef.js';

export interface SeqLimits {
  /** How long a line waits for others to share a request. */
  batchMs: number;
  batchChars: number;
  /** Bound of the queue; beyond it the oldest lines are dropped. */
  maxQueuedChars: number;
  /** Timeout of one request, its answer included. */
  requestMs: number;
  /** Backoff between tries: doubles from the first delay to the last. */
  firstDelayMs: number;
  maxDelayMs: number;
}

const DEFAULT_LIMITS: SeqLimits = {
  batchMs: 1000,
  batchChars: 512 << 10,
  maxQueuedChars: 4 << 20,
  requestMs: 10_000,
  firstDelayMs: 1000,
  maxDelayMs: 60_000,
};

export interface SeqOptions {
  /** May contain a user and a password, for proxies. */
  url: string;
  apiKey?: string | undefined;
  limits?: Partial<SeqLimits>;
  /** Called once when Seq goes away, and once when it takes lines again, with the number of lost lines. */
  onChange: (change: SeqChange) => void;
}

export type SeqChange = { state: 'away'; reason: string } | { state: 'back'; droppedLines: number };

type Outcome = { kind: 'sent' } | { kind: 'refused' | 'away'; reason: string };

/** An idle connection may have been closed unnoticed, so one failure says nothing yet. */
const TRIES_BEFORE_AWAY = 2;
/** Answers that a retry does not change: one event of the batch is at fault. */
const REFUSED: ReadonlySet<number> = new Set([400, 413, 422]);

/**
 * Sends log lines to Seq as CLEF over HTTP. `write` only queues, so Seq never delays the service. While Seq is away, slow or refusing, lines
 * wait in bounded memory and are sent again; lines that do not fit, and single lines that Seq refuses, are dropped and counted.
 */
export class SeqSink implements LineSink {
  private readonly limits: SeqLimits;
  private readonly endpoint: URL;
  private readonly agent: HttpAgent;
  private readonly headers: Record<string, string>;
  private queue: string[] = [];
  private queuedChars = 0;
  private dropped = 0;
  private failures = 0;
  /** How many lines at the head are sent one by one, to find the line that Seq refuses. */
  private suspects = 0;
  private timer: NodeJS.Timeout | undefined;
  private sending: Promise<void> | undefined;
  private readonly closing = new AbortController();
  private isClosing = false;

  constructor(private readonly options: SeqOptions) {
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    const { username, password, ...url } = splitCredentials(options.url);
    this.endpoint = new URL(`${url.base}/api/events/raw?clef`);
    this.agent = new (this.endpoint.protocol === 'https:' ? HttpsAgent : HttpAgent)({ keepAlive: true, maxSockets: 1 });
    this.headers = {
      'content-type': 'application/vnd.serilog.clef',
      ...(options.apiKey ? { 'x-seq-apikey': options.apiKey } : {}),
      ...(username ? { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` } : {}),
    };
  }

  write(line: string): void {
    if (this.closing.signal.aborted) return;
    const event = toClef(line);
    if (event === undefined) return;
    this.queue.push(event);
    this.queuedChars += event.length;
    while (this.queuedChars > this.limits.maxQueuedChars && this.queue.length > 1) this.dropFirst();
    this.sendIn(this.limits.batchMs);
  }

  /** Sends the queue for at most `timeoutMs`, then drops the rest. */
  async close(timeoutMs: number): Promise<void> {
    this.isClosing = true;
    const deadline = setTimeout(() => this.closing.abort(), timeoutMs);
    clearTimeout(this.timer);
    await this.sending;
    // One try per batch: a shutdown does not wait for a Seq that is away.
    while (this.queue.length > 0 && !this.closing.signal.aborted && (await this.sendBatch()));
    clearTimeout(deadline);
    this.closing.abort();
    this.agent.destroy();
  }

  private sendIn(delayMs: number): void {
    if (this.timer || this.sending || this.isClosing || this.queue.length === 0) return;
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.sending = this.sendQueued().finally(() => {
        this.sending = undefined;
        this.sendIn(this.failures > 0 ? this.retryMs() : this.limits.batchMs);
      });
    }, delayMs);
    this.timer.unref();
  }

  private async sendQueued(): Promise<void> {
    while (this.queue.length > 0 && (await this.sendBatch()) && !this.isClosing);
  }

  /** @returns whether to send the next batch at once */
  private async sendBatch(): Promise<boolean> {
    const batch = this.takeBatch();
    const outcome = await this.post(batch.join('\n'));
    if (outcome.kind === 'sent') {
      this.sent();
      return true;
    }
    if (outcome.kind === 'away') {
      this.putBack(batch);
      return this.failed(outcome.reason);
    }
    if (batch.length > 1) {
      this.putBack(batch);
      this.suspects = batch.length;
      return true;
    }
    this.suspects = Math.max(0, this.suspects - 1);
    this.dropped += 1;
    return this.failed(outcome.reason);
  }

  private sent(): void {
    this.suspects = Math.max(0, this.suspects - 1);
    if (this.failures >= TRIES_BEFORE_AWAY || this.dropped > 0) this.options.onChange({ state: 'back', droppedLines: this.dropped });
    this.failures = 0;
    this.dropped = 0;
  }

  private failed(reason: string): boolean {
    this.failures += 1;
    if (this.failures === TRIES_BEFORE_AWAY) this.options.onChange({ state: 'away', reason });
    return this.failures < TRIES_BEFORE_AWAY && this.dropped > 0;
  }

  private takeBatch(): string[] {
    let count = 0;
    let chars = 0;
    const maxLines = this.suspects > 0 ? 1 : this.queue.length;
    while (count < maxLines && (count === 0 || chars + (this.queue[count] as string).length <= this.limits.batchChars)) {
      chars += (this.queue[count] as string).length;
      count += 1;
    }
    this.queuedChars -= chars;
    return this.queue.splice(0, count);
  }

  private putBack(batch: string[]): void {
    this.queue = [...batch, ...this.queue];
    this.queuedChars += batch.reduce((chars, event) => chars + event.length, 0);
    while (this.queuedChars > this.limits.maxQueuedChars && this.queue.length > 1) this.dropFirst();
  }

  private dropFirst(): void {
    this.queuedChars -= this.queue.shift()?.length ?? 0;
    this.dropped += 1;
    this.suspects = Math.max(0, this.suspects - 1);
  }

  /** Half of the delay is jitter: a fleet that lost its Seq must not come back at one moment. */
  private retryMs(): number {
    const delayMs = Math.min(this.limits.maxDelayMs, this.limits.firstDelayMs * 2 ** (this.failures - 1));
    return (delayMs * (1 + Math.random())) / 2;
  }

  private post(body: string): Promise<Outcome> {
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    const away = (reason: string): void => resolve({ kind: 'away', reason });
    const signal = AbortSignal.any([AbortSignal.timeout(this.limits.requestMs), this.closing.signal]);
    const send = this.endpoint.protocol === 'https:' ? httpsRequest : httpRequest;
    const headers = { ...this.headers, 'content-length': Buffer.byteLength(body) };
    const request = send(this.endpoint, { method: 'POST', agent: this.agent, headers, signal }, (response) => {
      const status = response.statusCode ?? 0;
      response.once('end', () => {
        if (status >= 200 && status < 300) resolve({ kind: 'sent' });
        else resolve({ kind: REFUSED.has(status) ? 'refused' : 'away', reason: `it answers HTTP ${status}` });
      });
      response.once('error', (error) => away(describe(error)));
      response.resume();
    });
    request.once('error', (error) => away(signal.aborted ? 'it does not answer in time' : describe(error)));
    request.once('close', () => away('it closed the connection'));
    request.end(body);
    return promise;
  }
}

function splitCredentials(text: string): { base: string; username: string; password: string } {
  const url = new URL(text);
  const [username, password] = [decodeURIComponent(url.username), decodeURIComponent(url.password)];
  url.username = url.password = url.hash = url.search = '';
  return { base: url.href.replace(/\/+$/, ''), username, password };
}

function describe(error: Error & { code?: string }): string {
  return error.message || error.code || error.name;
}

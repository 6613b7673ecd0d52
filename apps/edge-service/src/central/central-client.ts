import type { Readable } from 'node:stream';
import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import {
  type Ack,
  type AckResponse,
  ackResponseSchema,
  chunkStreamPath,
  contentDigest,
  CYCLE_ID_HEADER,
  type Have,
  REQUEST_ID_HEADER,
  ulidSchema,
  WaypostError,
} from '@waypost/contracts';
import { currentWork, LOGGER, traceHeaders } from '@waypost/runtime';
import type { Logger } from 'pino';
import { Agent, type Dispatcher } from 'undici';
import { CONFIG, type EdgeConfig } from '../config.js';
import { Metrics } from '../metrics/metrics.js';
import { networkError, refusalError } from './central-errors.js';

/** A manifest of 100,000 tables stays below. */
const MAX_JSON_BYTES = 64 << 20;
/** Short: a connection that was cut without a word while it rested takes what is sent next, and answers nothing until the deadline. */
const KEEP_ALIVE_MS = 1000;
const MAX_PROBLEM_BYTES = 64 << 10;

export interface ChunkStreamRequest {
  manifestId: string;
  table: string;
  /** Take the stream up from this byte, if it still has this ETag. */
  resume?: { offset: number; etag: string } | undefined;
}

export interface ChunkStreamAnswer {
  body: Readable;
  /** Where the body starts within the stream; 0 unless the range was honoured. */
  offset: number;
  /** Of the body, if central says so. */
  contentLength: number | undefined;
  etag: string | undefined;
}

/** Central's HTTP API, one request per call: trying again is for CentralCircuit. All errors are WaypostErrors. */
@Injectable()
export class CentralClient implements OnApplicationShutdown {
  private readonly agent: Agent;

  constructor(
    @Inject(CONFIG) private readonly config: EdgeConfig,
    private readonly metrics: Metrics,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {
    this.agent = new Agent({
      connect: { timeout: Math.min(10_000, config.REQUEST_TIMEOUT) },
      // undici's own timers are coarse, and do not fire while the reader is slow: `within`, `armed` and steady.ts watch instead.
      headersTimeout: 0,
      bodyTimeout: 0,
      // A connection that rested for longer may be gone without a word, and a request on it would wait for its whole deadline.
      keepAliveMaxTimeout: KEEP_ALIVE_MS,
    });
  }

  async onApplicationShutdown(): Promise<void> {
    await this.agent.destroy();
  }

  /** @returns what claims to be a manifest, unchecked, and central's clock if it tells the time */
  async requestManifest(have: Have | undefined, signal: AbortSignal): Promise<{ manifest: unknown; centralTime: Date | undefined }> {
    const message = { mac: this.config.DEVICE_MAC, ...(have ? { have } : {}) };
    const { body, headers } = await this.postJson('/api/device-sync/request', message, within(this.config.REQUEST_TIMEOUT, signal));
    const manifest = typeof body === 'object' && body !== null && 'manifest' in body ? body.manifest : undefined;
    return { manifest, centralTime: dateOf(headers) };
  }

  async sendAck(ack: Ack, signal: AbortSignal): Promise<AckResponse> {
    // Central has nothing to build for it.
    const deadlineMs = Math.min(this.config.STALL_TIMEOUT, this.config.REQUEST_TIMEOUT);
    const { body } = await this.postJson('/api/device-sync/ack', ack, within(deadlineMs, signal));
    const parsed = ackResponseSchema.safeParse(body);
    if (!parsed.success || parsed.data.manifestId !== ack.manifestId)
      throw new WaypostError('CENTRAL_REFUSED', { detail: 'Central answered an ack with something else than its receipt.' });
    return parsed.data;
  }

  /** The caller reads the body to its end or destroys it. */
  async openChunkStream({ manifestId, table, resume }: ChunkStreamRequest, signal: AbortSignal): Promise<ChunkStreamAnswer> {
    const path = `${chunkStreamPath(manifestId, table)}?mac=${encodeURIComponent(this.config.DEVICE_MAC)}`;
    const range = resume ? { range: `bytes=${resume.offset}-`, 'if-range': resume.etag } : {};
    const { STALL_TIMEOUT } = this.config;
    using headersDeadline = armed(STALL_TIMEOUT, signal);
    const { statusCode, headers, body } = await this.send({ method: 'GET', path, headers: range }, headersDeadline.signal);
    if (statusCode !== 200 && statusCode !== 206) throw refusalError({ status: statusCode, body: await readText(body, MAX_PROBLEM_BYTES) });
    const etag = typeof headers.etag === 'string' ? headers.etag : undefined;
    const contentLength = headers['content-length'] === undefined ? undefined : Number(headers['content-length']);
    const offset = statusCode === 200 ? 0 : Number(/^bytes (\d+)-/.exec(String(headers['content-range']))?.[1]);
    if (headers['content-encoding'] !== undefined || Number.isNaN(offset)) {
      body.destroy();
      throw new WaypostError('CHUNK_CORRUPT', { detail: 'Something between device and central altered a chunk stream’s headers.' });
    }
    return { body, offset, contentLength, etag };
  }

  /** @param deadline for all of it, the answer's last byte included */
  private async postJson(path: string, message: object, deadline: AbortSignal) {
    const text = JSON.stringify(message);
    const described = { 'content-type': 'application/json', 'content-digest': contentDigest(text) };
    const { statusCode, headers, body } = await this.send({ method: 'POST', path, body: text, headers: described }, deadline);
    const centralTime = statusCode === 200 ? dateOf(headers) : undefined;
    // A Date header leaves out what is less than a second: half of one on average.
    if (centralTime) this.metrics.clockOffsetSeconds.set((Date.now() - centralTime.getTime()) / 1000 - 0.5);
    const answer = await readText(body, statusCode === 200 ? MAX_JSON_BYTES : MAX_PROBLEM_BYTES);
    if (statusCode !== 200) throw refusalError({ status: statusCode, body: answer });
    try {
      return { headers, body: JSON.parse(answer) as unknown };
    } catch (cause) {
      throw new WaypostError('CENTRAL_REFUSED', {
        detail: 'Central’s address answered with something that is not JSON.',
        hint: 'Check CENTRAL_URL: what answers there does not seem to be a Waypost central.',
        cause,
      });
    }
  }

  private async send(options: Pick<Dispatcher.RequestOptions, 'method' | 'path' | 'body' | 'headers'>, signal: AbortSignal) {
    const { origin, pathname } = new URL(this.config.CENTRAL_URL);
    const prefix = pathname === '/' ? '' : pathname;
    // Compressed bodies that end too early can pass for whole ones; rows are compressed chunk by chunk anyway.
    const cycleId = currentWork()?.ids.cycleId;
    const headers = {
      'accept-encoding': 'identity',
      'user-agent': 'waypost-edge',
      ...(cycleId === undefined ? {} : { [CYCLE_ID_HEADER]: cycleId }),
      ...traceHeaders(),
      ...(options.headers as Record<string, string>),
    };
    const startedAt = performance.now();
    const answer = await this.agent
      .request({ ...options, origin, path: prefix + options.path, headers, signal })
      .catch((error: unknown) => {
        throw networkError(error);
      });
    // Under this id central's log and audit have the same request.
    const centralRequestId = ulidSchema.safeParse(answer.headers[REQUEST_ID_HEADER]).data;
    const durationMs = Math.round(performance.now() - startedAt);
    this.logger.info(
      { centralRequestId, method: options.method, path: options.path, status: answer.statusCode, durationMs },
      'central answers',
    );
    return answer;
  }
}

/** Central's clock, if the answer tells the time. */
function dateOf({ date }: Dispatcher.ResponseData['headers']): Date | undefined {
  const time = typeof date === 'string' ? new Date(date) : undefined;
  return time && !Number.isNaN(time.getTime()) ? time : undefined;
}

/** Fires with a TimeoutError, which networkError knows, or when `signal` does. */
function within(deadlineMs: number, signal: AbortSignal): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(deadlineMs)]);
}

/** Fires with a TRANSFER_STALLED unless it is disposed of before, and when `signal` does. */
function armed(stallMs: number, signal: AbortSignal): Disposable & { signal: AbortSignal } {
  const controller = new AbortController();
  const stalled = (): void =>
    controller.abort(new WaypostError('TRANSFER_STALLED', { detail: 'Central sent no headers of a chunk stream within STALL_TIMEOUT.' }));
  const timer = setTimeout(stalled, stallMs);
  return { signal: AbortSignal.any([signal, controller.signal]), [Symbol.dispose]: () => clearTimeout(timer) };
}

async function readText(body: Readable, maxBytes: number): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  try {
    for await (const part of body as AsyncIterable<Buffer>) {
      length += part.length;
      if (length > maxBytes) throw new WaypostError('CENTRAL_REFUSED', { detail: `Central’s answer is longer than ${maxBytes} bytes.` });
      parts.push(part);
    }
  } catch (error) {
    throw networkError(error);
  }
  return Buffer.concat(parts).toString('utf8');
}

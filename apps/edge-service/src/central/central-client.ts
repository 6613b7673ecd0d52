import type { Readable } from 'node:stream';
import { Inject, Injectable } from '@nestjs/common';
import {
  type Ack,
  type AckResponse,
  ackResponseSchema,
  chunkStreamPath,
  DATABASE_HEADER,
  deltaPath,
  enclosedDeltasSchema,
  type Have,
  LIVE_STREAM_TYPE,
  MAX_TRUST_BYTES,
  PREFER_MINIMAL,
  trustPath,
  unchangedResponseSchema,
  type UnchangedResponse,
  WaypostError,
} from '@waypost/contracts';
import type { Dispatcher } from 'undici';
import { Metrics } from '../metrics/metrics.js';
import { CentralAccess } from './access.js';
import { dateOf, jsonBody, MAX_PROBLEM_BYTES, readJson, readText } from './bodies.js';
import { refusalCode, refusalError } from './central-errors.js';
import { CentralHttp, type CentralRequest } from './central-http.js';
import { CENTRAL_OPTIONS, type CentralOptions } from './central-options.js';
import { LastCheckpoint } from './last-checkpoint.js';

/** Refusals that end once the device has renewed its access token, and its client certificate with it. */
const RENEWED_FOR: readonly unknown[] = ['TOKEN_INVALID', 'CERTIFICATE_REQUIRED'];
/** An entry of the ledger with a large receipt, twice escaped. */
const MAX_TEXT_BYTES = 2 << 20;
/** Of deltas that may come with a manifest. */
const ENCLOSED_BYTES = 8 << 10;

export interface ChunkStreamRequest {
  manifestId: string;
  table: string;
  /** Resume the stream at this byte, if it still has this ETag. */
  resume?: { offset: number; etag: string } | undefined;
}

/** What a delta is to start from: the manifest that the device holds, or the chunks that it names (nameChunks) of the table with this hash. */
export type DeltaStart = { base: string } | { sha256: string; digests: Buffer };

export interface DeltaRequest extends ChunkStreamRequest {
  start: DeltaStart;
}

interface ManifestAnswer {
  /** What claims to be one, unchecked. */
  manifest: unknown;
  /** What claims to be its signature, or that of the one that is held, unchecked. */
  signature: unknown;
  /** In its place, where that is what the device should hold. */
  unchanged?: UnchangedResponse['unchanged'] | undefined;
  /** Deltas from the manifest that the device holds, by table, unchecked. */
  deltas: ReadonlyMap<string, Buffer>;
  /** Central's clock, if it sends the time. */
  centralTime: Date | undefined;
  /** The fingerprint of central's database, if it sends it. */
  database: string | undefined;
}

export interface ChunkStreamAnswer {
  body: Readable;
  /** Where the body starts within the stream; 0 unless the range was honoured. */
  offset: number;
  /** Of the body, if central says so. */
  contentLength: number | undefined;
  etag: string | undefined;
}

/** A live stream, unread. */
export interface LiveAnswer {
  live: Readable;
  centralTime: Date | undefined;
  database: string | undefined;
}

/** Central's HTTP API, one request per call: trying again is for CentralCircuit. All errors are WaypostErrors. */
@Injectable()
export class CentralClient {
  constructor(
    @Inject(CENTRAL_OPTIONS) private readonly options: CentralOptions,
    private readonly http: CentralHttp,
    private readonly access: CentralAccess,
    private readonly metrics: Metrics,
    private readonly checkpoint: LastCheckpoint,
  ) {}

  /** @param isMinimal the device keeps the manifest that it has, which central need not repeat */
  async requestManifest(have: Have | undefined, isMinimal: boolean, signal: AbortSignal): Promise<ManifestAnswer> {
    const message = { mac: this.options.deviceMac, ...(have ? { have, encloseDeltas: ENCLOSED_BYTES } : {}) };
    const deadline = withDeadline(this.options.requestTimeoutMs, signal);
    // Safe to compress: a manifest that is not whole does not have its hash.
    const more = { 'accept-encoding': 'zstd', ...(isMinimal ? { prefer: PREFER_MINIMAL } : {}) };
    const { body, headers } = await this.postJson('/api/device-sync/request', message, deadline, more);
    this.checkpoint.receive(headers);
    const { unchanged } = (isMinimal ? unchangedResponseSchema.safeParse(body).data : undefined) ?? {};
    return {
      manifest: memberOf(body, 'manifest'),
      signature: memberOf(body, 'signature'),
      unchanged,
      deltas: deltasIn(body),
      centralTime: dateOf(headers),
      database: databaseOf(headers),
    };
  }

  /** As requestManifest, of a device that holds nothing: central may send the rows along, while it still reads them. The caller reads `live` to its end or destroys it. */
  async requestLive(signal: AbortSignal): Promise<LiveAnswer | ManifestAnswer> {
    using deadline = startDeadline(
      this.options.requestTimeoutMs,
      signal,
      new DOMException('Central did not answer in time.', 'TimeoutError'),
    );
    const accept = `${LIVE_STREAM_TYPE}, application/json`;
    const answer = await this.post('/api/device-sync/request', { mac: this.options.deviceMac }, deadline.signal, { accept });
    this.checkpoint.receive(answer.headers);
    const facts = { centralTime: dateOf(answer.headers), database: databaseOf(answer.headers) };
    if (answer.headers['content-type'] === LIVE_STREAM_TYPE) return { live: answer.body, ...facts };
    const body = await readJson(answer);
    return { manifest: memberOf(body, 'manifest'), signature: memberOf(body, 'signature'), deltas: new Map(), ...facts };
  }

  async sendAck(ack: Ack, signal: AbortSignal): Promise<AckResponse> {
    // Central has nothing to build for it.
    const deadlineMs = Math.min(this.options.stallTimeoutMs, this.options.requestTimeoutMs);
    const { body } = await this.postJson('/api/device-sync/ack', ack, withDeadline(deadlineMs, signal));
    const parsed = ackResponseSchema.safeParse(body);
    if (!parsed.success || parsed.data.manifestId !== ack.manifestId)
      throw new WaypostError('CENTRAL_REFUSED', { detail: 'Central answered an ack with something else than its receipt.' });
    this.checkpoint.acknowledged();
    return parsed.data;
  }

  /** What claims to be a version of the fleet's trust document, unchecked. */
  async fetchTrust(version: number, signal: AbortSignal): Promise<unknown> {
    const deadlineMs = Math.min(this.options.stallTimeoutMs, this.options.requestTimeoutMs);
    const answer = await this.send({ method: 'GET', path: this.pathTo(trustPath(version)) }, withDeadline(deadlineMs, signal));
    const text = await readText(answer.body, MAX_TRUST_BYTES);
    if (answer.statusCode !== 200) throw refusalError({ status: answer.statusCode, body: text });
    try {
      return JSON.parse(text) as unknown;
    } catch (cause) {
      throw new WaypostError('CENTRAL_REFUSED', { detail: 'Central answered with a trust document that is not JSON.', cause });
    }
  }

  /** A short text. @throws WaypostError what central refuses with */
  async getText(path: string, signal: AbortSignal): Promise<{ text: string }> {
    const { statusCode: status, body } = await this.send({ method: 'GET', path }, withDeadline(this.options.requestTimeoutMs, signal));
    const text = await readText(body, MAX_TEXT_BYTES);
    if (status !== 200) throw refusalError({ status, body: text });
    return { text };
  }

  /** A message whose answer has no body. @throws WaypostError what central refuses with */
  async postMessage(path: string, message: object, signal: AbortSignal): Promise<void> {
    const { body: text, headers } = jsonBody(message);
    const { statusCode: status, body } = await this.send(
      { method: 'POST', path, body: text, headers },
      withDeadline(this.options.requestTimeoutMs, signal),
    );
    const answer = await readText(body, MAX_PROBLEM_BYTES);
    if (status >= 300) throw refusalError({ status, body: answer });
  }

  /** The caller reads the body to its end or destroys it. */
  async openChunkStream({ manifestId, table, resume }: ChunkStreamRequest, signal: AbortSignal): Promise<ChunkStreamAnswer> {
    return this.openStream({ method: 'GET', path: this.pathTo(chunkStreamPath(manifestId, table)) }, resume, signal);
  }

  /** As openChunkStream. @throws WaypostError DELTA_NONE where the table itself is to be downloaded */
  async openDelta({ manifestId, table, start, resume }: DeltaRequest, signal: AbortSignal): Promise<ChunkStreamAnswer> {
    const path = deltaPath(manifestId, table);
    if ('base' in start) return this.openStream({ method: 'GET', path: this.pathTo(path, start) }, resume, signal);
    const message = { sha256: start.sha256, digests: start.digests.toString('base64') };
    return this.openStream({ method: 'POST', path: this.pathTo(path), ...jsonBody(message) }, resume, signal);
  }

  private pathTo(path: string, parameters: Record<string, string> = {}): string {
    return `${path}?${new URLSearchParams({ mac: this.options.deviceMac, ...parameters }).toString()}`;
  }

  private async openStream(request: CentralRequest, resume: ChunkStreamRequest['resume'], signal: AbortSignal): Promise<ChunkStreamAnswer> {
    const range = resume ? { range: `bytes=${resume.offset}-`, 'if-range': resume.etag } : {};
    const stalled = new WaypostError('TRANSFER_STALLED', { detail: 'Central sent no headers of a stream within STALL_TIMEOUT.' });
    using headersDeadline = startDeadline(this.options.stallTimeoutMs, signal, stalled);
    const { statusCode, headers, body } = await this.send(
      { ...request, headers: { ...request.headers, ...range } },
      headersDeadline.signal,
    );
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
  private async postJson(path: string, message: object, deadline: AbortSignal, more: Record<string, string> = {}) {
    const answer = await this.post(path, message, deadline, more);
    return { headers: answer.headers, body: await readJson(answer) };
  }

  /** @throws WaypostError what central refuses with */
  private async post(path: string, message: object, signal: AbortSignal, more: Record<string, string> = {}) {
    const { body: text, headers: described } = jsonBody(message);
    const answer = await this.send({ method: 'POST', path, body: text, headers: { ...described, ...more } }, signal);
    const { statusCode: status, headers, body } = answer;
    if (status !== 200) throw refusalError({ status, body: await readText(body, MAX_PROBLEM_BYTES) });
    const centralTime = dateOf(headers);
    // A Date header leaves out what is less than a second: half of one on average.
    if (centralTime) this.metrics.clockOffsetSeconds.set((Date.now() - centralTime.getTime()) / 1000 - 0.5);
    return answer;
  }

  /** With the device's access token, if it has one; once more with a new one where central does not accept it any more. */
  private async send(request: CentralRequest, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
    const authorization = await this.access.authorization(signal);
    if (authorization === undefined) return this.http.send(request, signal);
    const answer = await this.http.send(withAuthorization(request, authorization), signal);
    if (answer.statusCode !== 401) return answer;
    const error = refusalError({ status: answer.statusCode, body: await readText(answer.body, MAX_PROBLEM_BYTES) });
    if (refusalCode(error) === 'AUTH_REQUIRED') throw withoutToken(error);
    if (!RENEWED_FOR.includes(refusalCode(error))) throw error;
    this.access.forget(authorization);
    return this.http.send(withAuthorization(request, (await this.access.authorization(signal)) ?? authorization), signal);
  }
}

function withoutToken({ cause }: WaypostError): WaypostError {
  return new WaypostError('CENTRAL_REFUSED', {
    detail: 'Central got no access token, although the device sent one.',
    hint: 'Something between device and central removes the header Authorization: look at the proxies on the way.',
    cause,
  });
}

function withAuthorization(request: CentralRequest, authorization: string): CentralRequest {
  return { ...request, headers: { ...request.headers, authorization } };
}

function databaseOf({ [DATABASE_HEADER]: fingerprint }: Dispatcher.ResponseData['headers']): string | undefined {
  return typeof fingerprint === 'string' ? fingerprint : undefined;
}

/** Fires with a TimeoutError, which networkError knows, or when `signal` does. */
function withDeadline(deadlineMs: number, signal: AbortSignal): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(deadlineMs)]);
}

/** Fires with this error unless it is disposed of before, and when `signal` does. */
function startDeadline(ms: number, signal: AbortSignal, error: Error): Disposable & { signal: AbortSignal } {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(error), ms);
  return { signal: AbortSignal.any([signal, controller.signal]), [Symbol.dispose]: () => clearTimeout(timer) };
}

function memberOf(body: unknown, name: 'manifest' | 'signature'): unknown {
  return typeof body === 'object' && body !== null && Object.hasOwn(body, name) ? (body as Record<string, unknown>)[name] : undefined;
}

/** Those of them that central may have enclosed. */
function deltasIn(body: unknown): Map<string, Buffer> {
  const { deltas = {} } = enclosedDeltasSchema.safeParse(body).data ?? {};
  return new Map(Object.entries(deltas).map(([table, base64]) => [table, Buffer.from(base64, 'base64')]));
}

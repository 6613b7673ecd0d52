import { newId } from '@waypost/runtime';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import {
  type Ack,
  CHUNK_STREAM_TYPE,
  ChunkIndex,
  type ColumnDefault,
  DATABASE_HEADER,
  DELTA_STREAM_TYPE,
  type ErrorCode,
  LIVE_STREAM_TYPE,
  liveChunkHead,
  liveHead,
  type Manifest,
  type ManifestTable,
  namedChunksSchema,
  prefersMinimal,
  PROBLEM_TYPE,
  sealManifest,
  shapeFingerprint,
  type SyncRequest,
  type TableIndex,
  toProblem,
  type UnchangedResponse,
  WaypostError,
} from '@waypost/contracts';
import pg from 'pg';
import { deltaOf, type DeltaParts, encodeDelta, matchedDelta } from './delta-of.js';
import { readStreams, type TableStream } from './table-stream.js';

export const TEST_MAC = '48:b0:2d:e9:c3:b7';

/** What a chunk stream's answer becomes. */
export interface StreamFault {
  bytes: Buffer;
  /** The announced length, if it differs. */
  contentLength?: number;
  /** What follows the bytes: a proper end (default), a broken connection, or nothing for ever. */
  then?: 'end' | 'break' | 'hang';
}

export interface ServedRange {
  table: string;
  /** The whole stream. */
  stream: TableStream;
  /** Where the answer starts in it. */
  offset: number;
  /** What would be sent. */
  bytes: Buffer;
}

/** A central that serves a database's tables by the protocol, made by hand for these tests, and misbehaves as it is told. */
export class FakeCentral implements AsyncDisposable {
  readonly requests: { method: string; path: string; range: string | undefined; prefer: string | undefined }[] = [];
  readonly acks: Ack[] = [];
  /** What the device said to hold, in each request for a manifest. */
  readonly haves: SyncRequest['have'][] = [];
  /** Goes with the answer to each ack. */
  receipt: string | undefined;
  epoch = 'epoch-1';
  schemaVersion = 1;
  /** Of all tables of the next manifest. */
  onReferenced: ManifestTable['onReferenced'];
  /** Of the next manifest; a central of an earlier version says nothing of it. */
  onRemoved: Manifest['onRemoved'];
  /** Whether the next manifest names the shapes of its tables, as centrals of earlier versions do not. */
  namesShapes = false;
  /** Secondary indexes of the next manifest's tables, by name. */
  indexes: Record<string, TableIndex[]> = {};
  /** Constant defaults of the next manifest's tables, by name. */
  defaults: Record<string, ColumnDefault[]> = {};
  /** As a central that does not know `Prefer: return=minimal`. */
  ignoresPreferences = false;
  /** Answers a request for a part with the whole stream. */
  ignoresRanges = false;
  /** Turns the short answer into what is sent. */
  unchangedFault: ((answer: UnchangedResponse['unchanged']) => UnchangedResponse['unchanged']) | undefined;
  /** What it says its database's fingerprint is. */
  database: string | undefined;
  /** What its clock says; the right time by default. */
  clock: Date | undefined;
  /** Turns the whole manifest into what is sent. */
  manifestFault: ((manifest: Manifest) => unknown) | undefined;
  streamFault: ((range: ServedRange) => StreamFault | undefined) | undefined;
  /** Whether it knows deltas; what becomes of one before it is sent. */
  deltas: boolean | ((delta: DeltaParts) => Buffer | 'DELTA_NONE') = false;
  /** Encloses deltas in the answer to a request that takes them: turns each into what is sent, as it is in JSON. */
  encloses: ((delta: DeltaParts) => unknown) | undefined;
  /** Whether it takes names of chunks; what becomes of what leads from those before it is sent, or the status of a proxy that refuses the request. */
  matches: boolean | ((delta: DeltaParts) => Buffer | ErrorCode | number) = false;
  /** What becomes of a delta's answer. */
  deltaFault: ((bytes: Buffer) => StreamFault | undefined) | undefined;
  /** What becomes of a live stream's records; without it there are none. */
  live: ((records: Buffer[]) => AsyncIterable<Buffer> | Iterable<Buffer>) | undefined;
  /** Refuses requests whose path contains the key. */
  refusals = new Map<string, ErrorCode | 'drop'>();
  /** Called when a request has come, before it is answered; requests wait for it. */
  onRequest: ((path: string) => Promise<void> | void) | undefined;

  private sequence = 0;
  private current: Manifest | undefined;
  private readonly streams = new Map<string, TableStream>();
  private port = 0;
  private server: Server;

  private constructor(
    private readonly databaseUrl: string,
    /** What the next manifest names. */
    public tables: readonly string[],
  ) {
    this.server = this.makeServer();
  }

  static async start(databaseUrl: string, tables: readonly string[]): Promise<FakeCentral> {
    const central = new FakeCentral(databaseUrl, tables);
    await central.listen();
    return central;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Makes a manifest of what the database holds now. Until then the last one is issued again. */
  async publish(): Promise<Manifest> {
    return this.onDatabase(async (client) => {
      const { streams, types } = await readStreams(client, this.tables);
      const manifestId = newId();
      for (const stream of streams) this.streams.set(`${manifestId}/${stream.table.name}`, stream);
      this.sequence += 1;
      const now = Date.now();
      this.current = sealManifest({
        manifestId,
        generatedAt: new Date(now).toISOString(),
        expiresAt: new Date(now + 3_600_000).toISOString(),
        schemaVersion: this.schemaVersion,
        epoch: this.epoch,
        sequence: this.sequence,
        device: { mac: TEST_MAC, id: '1' },
        filters: {},
        types,
        ...(this.onRemoved ? { onRemoved: this.onRemoved } : {}),
        tables: streams.map(({ table }) => ({
          ...table,
          ...(this.namesShapes ? { shape: shapeFingerprint({ ...table, defaults: this.defaults[table.name] }) } : {}),
          ...(this.onReferenced ? { onReferenced: this.onReferenced } : {}),
          ...(this.defaults[table.name] ? { defaults: this.defaults[table.name] } : {}),
          ...(this.indexes[table.name] ? { indexes: this.indexes[table.name] } : {}),
        })),
      });
      return this.current;
    });
  }

  /** Runs SQL on the database that it serves, and makes a manifest of what that holds then. */
  async change(sql: string): Promise<Manifest> {
    await this.onDatabase((client) => client.query(sql));
    return this.publish();
  }

  /** The stream of a table of the last manifest. */
  stream(table: string): TableStream {
    const stream = this.streams.get(`${this.current?.manifestId}/${table}`);
    if (!stream) throw new Error(`no stream of ${table}`);
    return stream;
  }

  /** How often chunk streams of a table were asked for. */
  downloads(table: string): number {
    return this.requests.filter(({ path }) => path.includes(`/tables/${encodeURIComponent(table)}/chunks`)).length;
  }

  /** How often chunks of a table were named. */
  namings(table: string): number {
    return this.requests.filter(({ method, path }) => method === 'POST' && path.includes(`/tables/${encodeURIComponent(table)}/delta`))
      .length;
  }

  /** How often deltas of a table were asked for. */
  deltaDownloads(table: string): number {
    return this.requests.filter(({ path }) => path.includes(`/tables/${encodeURIComponent(table)}/delta`)).length;
  }

  /** Clears all faults. */
  heal(): void {
    if (this.deltas !== false) this.deltas = true;
    if (this.matches !== false) this.matches = true;
    this.deltaFault = undefined;
    this.encloses = undefined;
    this.manifestFault = undefined;
    this.unchangedFault = undefined;
    this.clock = undefined;
    this.database = undefined;
    this.ignoresPreferences = false;
    this.ignoresRanges = false;
    this.live = undefined;
    this.streamFault = undefined;
    this.onRequest = undefined;
    this.refusals.clear();
  }

  /** Stops listening: connections are refused until `listen`. */
  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  async listen(): Promise<void> {
    this.server = this.makeServer();
    await new Promise<void>((resolve) => this.server.listen(this.port, '127.0.0.1', resolve));
    this.port = (this.server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.server.listening) await this.stop();
  }

  private async onDatabase<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
    const client = new pg.Client({ connectionString: this.databaseUrl });
    await client.connect();
    try {
      return await work(client);
    } finally {
      await client.end();
    }
  }

  private makeServer(): Server {
    return createServer((request, response) => {
      this.answer(request, response).catch((error: unknown) => {
        response.destroy(error as Error);
      });
    });
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '';
    this.requests.push({
      method: request.method ?? '',
      path,
      range: request.headers.range,
      prefer: request.headers.prefer as string | undefined,
    });
    const parts: Buffer[] = [];
    for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
    await this.onRequest?.(path);
    for (const [key, refusal] of this.refusals) {
      if (!path.includes(key)) continue;
      if (refusal === 'drop') response.destroy();
      else refuse(response, refusal);
      return;
    }
    const delta = /^\/api\/device-sync\/manifests\/(\w+)\/tables\/([^/]+)\/delta\?.*base=(\w+)/.exec(path);
    if (delta && this.deltas !== false) {
      const [, manifestId, table, base] = delta as unknown as [string, string, string, string];
      return this.sendDelta(decodeURIComponent(table), { manifestId, base }, request, response);
    }
    const named = /^\/api\/device-sync\/manifests\/(\w+)\/tables\/([^/]+)\/delta/.exec(path);
    if (named && request.method === 'POST' && this.matches !== false)
      return this.sendMatched(`${named[1]}/${decodeURIComponent(named[2] as string)}`, Buffer.concat(parts), request, response);
    const chunks = /^\/api\/device-sync\/manifests\/(\w+)\/tables\/([^/]+)\/chunks/.exec(path);
    if (chunks) return this.sendStream(`${chunks[1]}/${decodeURIComponent(chunks[2] as string)}`, request, response);
    if (path === '/api/device-sync/request') {
      const { have, encloseDeltas } = JSON.parse(Buffer.concat(parts).toString()) as SyncRequest;
      this.haves.push(have);
      if (this.database) response.setHeader(DATABASE_HEADER, this.database);
      if (this.clock) response.setHeader('date', this.clock.toUTCString());
      if (this.live && request.headers.accept?.startsWith(LIVE_STREAM_TYPE)) return this.sendLive(response, this.live);
      const deltas = have && encloseDeltas && this.encloses ? this.enclosedDeltas(have.manifestId, this.encloses) : undefined;
      return this.sendManifest(response, prefersMinimal(request.headers.prefer) ? have?.manifestId : undefined, deltas);
    }
    if (path === '/api/device-sync/ack') return this.takeAck(JSON.parse(Buffer.concat(parts).toString()) as Ack, response);
    refuse(response, 'ROUTE_UNKNOWN');
  }

  /** @param held the manifest that the device holds */
  private async sendManifest(response: ServerResponse, held: string | undefined, deltas?: Record<string, unknown>): Promise<void> {
    const manifest = this.current ?? (await this.publish());
    const { manifestId, sha256 } = manifest;
    if (held === manifestId && !this.ignoresPreferences && !this.manifestFault) {
      const unchanged = { manifestId, sha256 };
      return sendJson(response, { unchanged: this.unchangedFault?.(unchanged) ?? unchanged });
    }
    sendJson(response, { manifest: this.manifestFault ? this.manifestFault(manifest) : manifest, deltas });
  }

  /** Of the tables of the last manifest that differ from those of `base`. */
  private enclosedDeltas(base: string, encoded: (delta: DeltaParts) => unknown): Record<string, unknown> {
    const pairs = (this.current?.tables ?? []).map(({ name }) => [this.streams.get(`${base}/${name}`), this.stream(name)] as const);
    const changed = pairs.flatMap(([from, to]) => (from && from.table.sha256 !== to.table.sha256 ? [[from, to] as const] : []));
    return Object.fromEntries(changed.map(([from, to]) => [to.table.name, encoded(deltaOf(from, to))]));
  }

  private async sendLive(response: ServerResponse, live: NonNullable<FakeCentral['live']>): Promise<void> {
    const manifest = this.current ?? (await this.publish());
    const sent = this.manifestFault ? this.manifestFault(manifest) : manifest;
    response.writeHead(200, { 'content-type': LIVE_STREAM_TYPE });
    const streams = manifest.tables.map(({ name }) => this.stream(name));
    await pipeline(live(liveRecords(manifest, sent as object, streams)), response);
  }

  private takeAck(ack: Ack, response: ServerResponse): void {
    this.acks.push(ack);
    sendJson(response, { manifestId: ack.manifestId, result: ack.status, reason: null, duplicate: false, receipt: this.receipt });
  }

  private sendStream(key: string, request: IncomingMessage, response: ServerResponse): void {
    const stream = this.streams.get(key);
    if (!stream) return refuse(response, 'MANIFEST_UNKNOWN');
    const whole = { bytes: stream.bytes, etag: `"${stream.table.sha256}"`, type: CHUNK_STREAM_TYPE };
    this.sendRange(whole, request, response, (bytes, offset) => this.streamFault?.({ table: stream.table.name, stream, offset, bytes }));
  }

  private sendDelta(table: string, ids: { manifestId: string; base: string }, request: IncomingMessage, response: ServerResponse): void {
    const [from, to] = [this.streams.get(`${ids.base}/${table}`), this.streams.get(`${ids.manifestId}/${table}`)];
    if (!from || !to) return refuse(response, 'MANIFEST_UNKNOWN');
    const parts = deltaOf(from, to);
    const bytes = typeof this.deltas === 'function' ? this.deltas(parts) : encodeDelta(parts);
    if (bytes === 'DELTA_NONE') return refuse(response, bytes);
    const whole = { bytes, etag: `"delta ${to.table.sha256}"`, type: DELTA_STREAM_TYPE };
    this.sendRange(whole, request, response, (rest) => this.deltaFault?.(rest));
  }

  private sendMatched(key: string, body: Buffer, request: IncomingMessage, response: ServerResponse): void {
    const to = this.streams.get(key);
    if (!to) return refuse(response, 'MANIFEST_UNKNOWN');
    const parts = matchedDelta(namedChunksSchema.parse(JSON.parse(body.toString())), to);
    const bytes = typeof this.matches === 'function' ? this.matches(parts) : encodeDelta(parts);
    if (typeof bytes === 'string') return refuse(response, bytes);
    if (typeof bytes === 'number') return void response.writeHead(bytes).end('refused by a proxy');
    const whole = { bytes, etag: `"matched ${to.table.sha256}"`, type: DELTA_STREAM_TYPE };
    this.sendRange(whole, request, response, (rest) => this.deltaFault?.(rest));
  }

  private sendRange(
    { bytes: all, etag, type }: { bytes: Buffer; etag: string; type: string },
    request: IncomingMessage,
    response: ServerResponse,
    faultOf: (bytes: Buffer, offset: number) => StreamFault | undefined,
  ): void {
    const wanted = request.headers['if-range'] === etag && !this.ignoresRanges ? /^bytes=(\d+)-$/.exec(request.headers.range ?? '') : null;
    const offset = wanted ? Number(wanted[1]) : 0;
    const rest = all.subarray(offset);
    const { bytes, then = 'end', contentLength = bytes.length } = faultOf(rest, offset) ?? { bytes: rest };
    response.writeHead(wanted ? 206 : 200, {
      etag,
      'content-type': type,
      'content-length': contentLength,
      ...(wanted ? { 'content-range': `bytes ${offset}-${all.length - 1}/${all.length}` } : {}),
    });
    response.write(bytes, () => {
      if (then === 'break') response.destroy();
    });
    if (then === 'end') response.end();
  }
}

function refuse(response: ServerResponse, code: ErrorCode): void {
  const error = new WaypostError(code, { detail: 'The fake central was told to refuse this.' });
  response.writeHead(error.status, { 'content-type': PROBLEM_TYPE }).end(JSON.stringify(toProblem(error)));
}

/** Preamble, then for each table its begin and its chunks, then the manifest. */
function liveRecords({ schemaVersion, types, tables }: Manifest, sent: object, streams: readonly TableStream[]): Buffer[] {
  const json = (type: 'preamble' | 'manifest', document: object): Buffer => {
    const bytes = Buffer.from(JSON.stringify(document));
    return Buffer.concat([liveHead(type, bytes.length), bytes]);
  };
  const shapes = tables.map(
    ({ rowCount: _, sha256: __, rawBytes: ___, streamBytes: ____, indexes: _____, defaults: ______, shape: _______, ...shape }) => shape,
  );
  const rows = streams.flatMap(({ bytes, borders }) => {
    const index = ChunkIndex.decode(bytes.subarray(0, borders[0]));
    const chunks = [...index].map((entry, at) => Buffer.concat([liveChunkHead(entry), bytes.subarray(borders[at], borders[at + 1])]));
    return [liveHead('table', 0), ...chunks];
  });
  return [json('preamble', { schemaVersion, types, tables: shapes }), ...rows, json('manifest', sent)];
}

function sendJson(response: ServerResponse, body: object): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

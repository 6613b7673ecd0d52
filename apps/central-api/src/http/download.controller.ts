import { Body, Controller, Get, Inject, Param, Post, Query, Req, Res } from '@nestjs/common';
import {
  CHUNK_STREAM_TYPE,
  DELTA_STREAM_TYPE,
  MAX_NAMED_BODY_BYTES,
  type NamedChunks,
  namedChunksSchema,
  WaypostError,
} from '@waypost/contracts';
import { describeSpan } from '@waypost/runtime';
import { ZodPipe } from '@waypost/runtime/service';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { DataSource } from 'typeorm';
import { DownloadLimiter } from '../admission/download-limiter.js';
import type { RequestFacts } from '../audit/request-audit.js';
import { ChunkStreamService, startOf } from '../manifests/chunk-stream-service.js';
import { type Delta, DeltaService } from '../manifests/delta-service.js';
import { getManifest } from '../manifests/find-manifest.js';
import { UnchangedLookup } from '../manifests/unchanged-lookup.js';
import { DEVICE_API_OPTIONS, type DeviceApiOptions } from './device-api-options.js';
import { Device, type DeviceIdentity, Facts } from './device.guard.js';
import { ManifestIdPipe } from './manifest-id.pipe.js';
import { DeviceOperation } from './operation.js';

/** A device's manifests, and the chunk streams of their tables. */
@Controller('api/device-sync/manifests/:manifestId')
export class DownloadController {
  constructor(
    private readonly chunkStreams: ChunkStreamService,
    private readonly deltas: DeltaService,
    private readonly limiter: DownloadLimiter,
    private readonly unchanged: UnchangedLookup,
    private readonly dataSource: DataSource,
    @Inject(DEVICE_API_OPTIONS) private readonly options: DeviceApiOptions,
  ) {}

  /** A device's own manifest once more, expired or not: for a comparison of the device with it. Builds and records nothing. */
  @Get()
  @DeviceOperation('download')
  async manifest(
    @Param('manifestId', ManifestIdPipe) manifestId: string,
    @Device() { mac }: DeviceIdentity,
    @Facts() facts: RequestFacts,
  ): Promise<object> {
    facts.manifestId = manifestId;
    return { manifest: await getManifest(this.dataSource.manager, manifestId, mac) };
  }

  @Get('tables/:table/chunks')
  @DeviceOperation('download')
  async chunks(
    @Param('manifestId', ManifestIdPipe) manifestId: string,
    @Param('table') table: string,
    @Device() { mac }: DeviceIdentity,
    @Facts() facts: RequestFacts,
    @Req() { method, headers }: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    facts.manifestId = manifestId;
    const wanted = await this.chunkStreams.getTable({ manifestId, table, mac });
    this.limitDownload(mac, reply);
    const conditions = { range: headers.range, ifRange: headers['if-range']?.toString(), ifNoneMatch: headers['if-none-match'] };
    const stream = await this.chunkStreams
      .open(wanted, { ...conditions, isHead: method === 'HEAD' })
      .catch((error: unknown) => this.noStream(manifestId, error));
    if ('isNotModified' in stream) return void (await reply.status(304).header('etag', stream.etag).send());
    if ('unsatisfiable' in stream) {
      reply.header('content-range', `bytes */${stream.totalBytes}`);
      throw stream.unsatisfiable;
    }
    describeSpan({ 'waypost.table': table, 'waypost.stream_bytes': stream.length });
    // Its client has disconnected, or its permit went to another download of the same device.
    if (reply.raw.destroyed) return void stream.body.destroy();
    await reply
      .status(stream.contentRange ? 206 : 200)
      .headers({
        'content-type': CHUNK_STREAM_TYPE,
        'content-length': stream.length,
        'accept-ranges': 'bytes',
        'cache-control': 'private, immutable',
        etag: stream.etag,
        ...(stream.contentRange ? { 'content-range': stream.contentRange } : {}),
      })
      .send(stream.body);
  }

  /** What differs from the table of a manifest that the device holds, `base`. */
  @Get('tables/:table/delta')
  @DeviceOperation('download')
  async delta(
    @Param('manifestId', ManifestIdPipe) manifestId: string,
    @Param('table') table: string,
    @Query('base', ManifestIdPipe) base: string,
    @Device() { mac }: DeviceIdentity,
    @Facts() facts: RequestFacts,
    @Req() { method, headers }: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    facts.manifestId = manifestId;
    const wanted = await this.chunkStreams.getTable({ manifestId, table, mac });
    this.limitDownload(mac, reply);
    const range = { from: startOf(headers.range), etag: headers['if-range']?.toString(), isHead: method === 'HEAD' };
    const delta = await this.deltas.find(wanted, { base, mac }, range).catch((error: unknown) => this.noStream(manifestId, error));
    await sendDelta(reply, table, delta, 'private, immutable');
  }

  /** What differs from the table whose chunks the device names. */
  @Post('tables/:table/delta')
  @DeviceOperation('download', { maxBodyBytes: MAX_NAMED_BODY_BYTES })
  async matchedDelta(
    @Param('manifestId', ManifestIdPipe) manifestId: string,
    @Param('table') table: string,
    @Body(new ZodPipe(namedChunksSchema)) held: NamedChunks,
    @Device() { mac }: DeviceIdentity,
    @Facts() facts: RequestFacts,
    @Req() { headers }: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    facts.manifestId = manifestId;
    const wanted = await this.chunkStreams.getTable({ manifestId, table, mac });
    this.limitDownload(mac, reply);
    const range = { from: startOf(headers.range), etag: headers['if-range']?.toString() };
    const delta = await this.deltas.match(wanted, held, range).catch((error: unknown) => this.noStream(manifestId, error));
    await sendDelta(reply, table, delta, 'no-store');
  }

  /** The device asks again, and must not get the same manifest without its tables being read and stored. */
  private async noStream(manifestId: string, error: unknown): Promise<never> {
    if (error instanceof WaypostError && error.code === 'SNAPSHOT_MISSING') await this.unchanged.forget(manifestId);
    throw error;
  }

  /**
   * Takes a permit before anything is read from the store, for a device whose manifest it is, until the answer is sent or aborted, at its deadline
   * at the latest: a device that still wants the rest resumes.
   * @throws WaypostError CENTRAL_BUSY
   */
  private limitDownload(mac: string, reply: FastifyReply): void {
    const abort = (): void => void reply.raw.destroy();
    const release = this.limiter.take(mac, abort);
    const deadline = setTimeout(abort, this.options.downloadDeadlineMs);
    const end = (): void => {
      clearTimeout(deadline);
      release();
    };
    // A client that has disconnected already closes no more.
    if (reply.raw.destroyed) end();
    else reply.raw.once('close', end);
  }
}

async function sendDelta(
  reply: FastifyReply,
  table: string,
  { body, length, etag, contentRange }: Delta,
  cacheControl: string,
): Promise<void> {
  describeSpan({ 'waypost.table': table, 'waypost.delta_bytes': length });
  // Its client has disconnected, or its permit went to another download of the same device.
  if (reply.raw.destroyed) return void body.destroy();
  await reply
    .status(contentRange ? 206 : 200)
    .headers({
      'content-type': DELTA_STREAM_TYPE,
      'content-length': length,
      'accept-ranges': 'bytes',
      'cache-control': cacheControl,
      etag,
      ...(contentRange ? { 'content-range': contentRange } : {}),
    })
    .send(body);
}

import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Body, Controller, Get, Headers, HttpCode, Inject, Param, Post, Query, Req, Res } from '@nestjs/common';
import {
  type AckResponse,
  ackSchema,
  CHUNK_STREAM_TYPE,
  type Manifest,
  normalizeMac,
  PREFER_MINIMAL,
  prefersMinimal,
  syncRequestSchema,
  ulidSchema,
  type UnchangedResponse,
  WaypostError,
} from '@waypost/contracts';
import { describeSpan, faultPoint, parseMessage } from '@waypost/runtime';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { DataSource } from 'typeorm';
import { AckService } from '../acks/ack-service.js';
import { auditOf, RequestAudit } from '../audit/request-audit.js';
import { UnchangedLookup, type Unchanged } from '../manifests/unchanged-lookup.js';
import { CONFIG, type Config } from '../config.js';
import { DatabaseIdentityHeader } from './database-identity.js';
import { ShadowReads } from '../maintenance/shadow-reads.js';
import { getManifest } from '../manifests/find-manifest.js';
import { ManifestService } from '../admission/manifest-service.js';
import { DownloadLimiter } from '../admission/download-limiter.js';
import { LiveResponses } from './live-response.js';
import { ChunkStreamService } from '../manifests/chunk-stream-service.js';
import { chooseEncoding, createEncoder, PAYLOAD_TYPES, type PayloadForm, writePayload } from '../snapshots/write-payload.js';

/** The device's side of central: ask for a manifest, download what it names, acknowledge. */
@Controller('api/device-sync')
export class SyncController {
  constructor(
    private readonly requests: ManifestService,
    private readonly unchanged: UnchangedLookup,
    private readonly chunkStreams: ChunkStreamService,
    private readonly downloads: DownloadLimiter,
    private readonly liveAnswers: LiveResponses,
    private readonly acks: AckService,
    private readonly shadowReads: ShadowReads,
    private readonly audit: RequestAudit,
    private readonly dataSource: DataSource,
    private readonly database: DatabaseIdentityHeader,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  @Post('request')
  async request(@Body() body: unknown, @Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const facts = auditOf(request, 'request');
    facts.claimMac(body);
    const { mac: claimed, have, payload } = parseMessage(syncRequestSchema, body);
    const mac = facts.accept(normalizeMac(claimed));
    facts.have = have;
    await faultPoint('central.request-received');
    const signal = closedSignal(reply);
    await this.database.addTo(reply);
    if (payload) return this.sendPayload(payload, { mac, have, signal }, request, reply);
    const isMinimal = prefersMinimal(request.headers['prefer']);
    const held = await this.unchanged.find(facts, isMinimal);
    if (held) {
      this.shadowReads.answered(mac, held.manifestId);
      return answer(reply, held, isMinimal);
    }
    const live = have ? undefined : this.liveAnswers.open(request, reply);
    const issued = await this.requests.answer({ mac, have, signal, observer: live });
    await this.audit.issued(facts, issued);
    await faultPoint('central.request-audited');
    const { manifest, isNew } = issued;
    if (live?.begun) return live.end(manifest);
    answer(reply, { ...manifest, manifest }, isMinimal && !isNew && manifest.manifestId === have?.manifestId);
  }

  /** A device's own manifest once more, expired or not: for a comparison of the device with it. Builds and records nothing. */
  @Get('manifests/:manifestId')
  async manifest(@Param('manifestId') manifestId: string, @Query('mac') claimed: unknown, @Req() request: FastifyRequest): Promise<object> {
    const facts = auditOf(request, 'download');
    facts.claimMac({ mac: claimed });
    facts.manifestId = manifestIdOf(manifestId);
    const mac = facts.accept(normalizeMac(typeof claimed === 'string' ? claimed : ''));
    return { manifest: await getManifest(this.dataSource.manager, manifestId, mac) };
  }

  @Get('manifests/:manifestId/tables/:table/chunks')
  async chunks(
    @Param('manifestId') manifestId: string,
    @Param('table') table: string,
    @Query('mac') claimed: unknown,
    @Headers() headers: Record<string, string | undefined>,
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const facts = auditOf(request, 'download');
    facts.claimMac({ mac: claimed });
    facts.manifestId = manifestIdOf(manifestId);
    const mac = facts.accept(normalizeMac(typeof claimed === 'string' ? claimed : ''));
    const wanted = await this.chunkStreams.getTable({ manifestId, table, mac });
    this.limitDownload(mac, reply);
    const part = { range: headers['range'], ifRange: headers['if-range'], isHead: request.method === 'HEAD' };
    const stream = await this.chunkStreams.open(wanted, part).catch((error: unknown) => this.noStream(manifestId, error));
    describeSpan({ 'waypost.table': table, 'waypost.stream_bytes': stream.length });
    // Its client has gone, or its place went to another download of the same device.
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

  @Post('ack')
  @HttpCode(200)
  async ack(@Body() body: unknown, @Req() request: FastifyRequest): Promise<AckResponse> {
    const facts = auditOf(request, 'ack');
    facts.claimMac(body);
    const ack = parseMessage(ackSchema, body);
    facts.manifestId = ack.manifestId;
    return this.acks.store({ ...ack, mac: facts.accept(normalizeMac(ack.mac)) });
  }

  /** Streams manifest and rows; a failure after the first byte breaks the connection, so that no client takes a part for the whole. */
  private async sendPayload(
    form: PayloadForm,
    asked: Pick<Parameters<ManifestService['answer']>[0], 'mac' | 'have' | 'signal'>,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<void> {
    const facts = auditOf(request, 'request');
    const encoding = chooseEncoding(request.headers['accept-encoding']);
    await this.requests.answer({
      ...asked,
      withRows: async (issued, snapshot, client) => {
        await this.audit.issued(facts, issued);
        const body = encoding ? createEncoder(encoding) : new PassThrough();
        reply.status(200).header('content-type', PAYLOAD_TYPES[form]).header('vary', 'accept-encoding');
        if (encoding) reply.header('content-encoding', encoding);
        void reply.send(body);
        const limit = AbortSignal.timeout(this.config.PAYLOAD_TIMEOUT);
        const signal = AbortSignal.any([asked.signal, limit]);
        try {
          await pipeline(writePayload(form, issued.manifest, snapshot, client), body, { signal });
        } catch (error) {
          if (!limit.aborted || signal.reason !== limit.reason) throw error;
          const detail = `The payload was not taken within PAYLOAD_TIMEOUT (${this.config.PAYLOAD_TIMEOUT / 1000} s).`;
          throw new WaypostError('DEADLINE_EXCEEDED', { detail, cause: error });
        }
      },
    });
  }

  /** The device asks again, and must not get the same manifest without its tables being read and stored. */
  private async noStream(manifestId: string, error: unknown): Promise<never> {
    if (error instanceof WaypostError && error.code === 'SNAPSHOT_MISSING') await this.unchanged.forget(manifestId);
    throw error;
  }

  /**
   * Takes a place before anything is read from the store, for a device whose manifest it is, until the answer is out or broken off, which it is at DOWNLOAD_DEADLINE: a device that still
   * wants the rest resumes.
   * @throws WaypostError CENTRAL_BUSY
   */
  private limitDownload(mac: string, reply: FastifyReply): void {
    const cut = (): void => void reply.raw.destroy();
    const release = this.downloads.take(mac, cut);
    const deadline = setTimeout(cut, this.config.DOWNLOAD_DEADLINE);
    const end = (): void => {
      clearTimeout(deadline);
      release();
    };
    // A client that has gone already closes no more.
    if (reply.raw.destroyed) end();
    else reply.raw.once('close', end);
  }
}

/** The manifest, or only which one it is, for a device that holds it and keeps it. */
function answer(reply: FastifyReply, { manifestId, sha256, manifest }: Unchanged, isMinimal: boolean): void {
  const body: UnchangedResponse | { manifest: Manifest | undefined } = isMinimal ? { unchanged: { manifestId, sha256 } } : { manifest };
  if (isMinimal) void reply.header('preference-applied', PREFER_MINIMAL);
  void reply.status(200).send(body);
}

/** @throws WaypostError MANIFEST_UNKNOWN */
function manifestIdOf(text: string): string {
  if (ulidSchema.safeParse(text).success) return text;
  throw new WaypostError('MANIFEST_UNKNOWN', { detail: 'This is not the id of a manifest.' });
}

/** Aborts when the client goes away before it has the whole answer. */
function closedSignal(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort();
  });
  return controller.signal;
}

import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Body, Controller, Inject, Post, Req, Res } from '@nestjs/common';
import {
  type Manifest,
  PREFER_MINIMAL,
  prefersMinimal,
  type SyncRequest,
  syncRequestSchema,
  type UnchangedResponse,
  WaypostError,
} from '@waypost/contracts';
import { faultPoint, ZodPipe } from '@waypost/runtime';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { ManifestService } from '../admission/manifest-service.js';
import { RequestAudit, type RequestFacts } from '../audit/request-audit.js';
import { ShadowReads } from '../maintenance/shadow-reads.js';
import { type Unchanged, UnchangedLookup } from '../manifests/unchanged-lookup.js';
import { PAYLOAD_TYPES, type PayloadForm, writePayload } from '../snapshots/write-payload.js';
import { chooseEncoding, createEncoder } from './content-encoding.js';
import { DatabaseIdentityHeader } from './database-identity.js';
import { DEVICE_API_OPTIONS, type DeviceApiOptions } from './device-api-options.js';
import { Device, type DeviceIdentity, Facts } from './device.guard.js';
import { LiveResponses } from './live-response.js';
import { DeviceOperation } from './operation.js';

/** What a device should hold: its manifest, on demand with the rows. */
@Controller('api/device-sync/request')
export class RequestController {
  constructor(
    private readonly manifests: ManifestService,
    private readonly unchanged: UnchangedLookup,
    private readonly liveResponses: LiveResponses,
    private readonly shadowReads: ShadowReads,
    private readonly audit: RequestAudit,
    private readonly database: DatabaseIdentityHeader,
    @Inject(DEVICE_API_OPTIONS) private readonly options: DeviceApiOptions,
  ) {}

  @Post()
  @DeviceOperation('request')
  async request(
    @Body(new ZodPipe(syncRequestSchema)) { have, payload }: SyncRequest,
    @Device() { mac }: DeviceIdentity,
    @Facts() facts: RequestFacts,
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    facts.have = have;
    await faultPoint('central.request-received');
    const signal = closedSignal(reply);
    await this.database.addTo(reply);
    if (payload) return this.sendPayload(payload, { mac, have, signal }, facts, request, reply);
    const isMinimal = prefersMinimal(request.headers['prefer']);
    const held = await this.unchanged.find(facts, isMinimal);
    if (held) {
      this.shadowReads.answered(mac, held.manifestId);
      return answer(reply, held, isMinimal);
    }
    const live = have ? undefined : this.liveResponses.open(request, reply);
    const issued = await this.manifests.answer({ mac, have, signal, observer: live });
    await this.audit.issued(facts, issued);
    await faultPoint('central.request-audited');
    const { manifest, isNew } = issued;
    if (live?.begun) return live.end(manifest);
    answer(reply, { ...manifest, manifest }, isMinimal && !isNew && manifest.manifestId === have?.manifestId);
  }

  /** Streams manifest and rows; a failure after the first byte breaks the connection, so that no client takes a part for the whole. */
  private async sendPayload(
    form: PayloadForm,
    asked: Pick<Parameters<ManifestService['answer']>[0], 'mac' | 'have' | 'signal'>,
    facts: RequestFacts,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<void> {
    const encoding = chooseEncoding(request.headers['accept-encoding']);
    await this.manifests.answer({
      ...asked,
      withRows: async (issued, snapshot, client) => {
        await this.audit.issued(facts, issued);
        const body = encoding ? createEncoder(encoding) : new PassThrough();
        reply.status(200).header('content-type', PAYLOAD_TYPES[form]).header('vary', 'accept-encoding');
        if (encoding) reply.header('content-encoding', encoding);
        void reply.send(body);
        const { payloadTimeoutMs } = this.options;
        const limit = AbortSignal.timeout(payloadTimeoutMs);
        const signal = AbortSignal.any([asked.signal, limit]);
        try {
          await pipeline(writePayload(form, issued.manifest, snapshot, client), body, { signal });
        } catch (error) {
          if (!limit.aborted || signal.reason !== limit.reason) throw error;
          const detail = `The payload was not taken within PAYLOAD_TIMEOUT (${payloadTimeoutMs / 1000} s).`;
          throw new WaypostError('DEADLINE_EXCEEDED', { detail, cause: error });
        }
      },
    });
  }
}

/** The manifest, or only which one it is, for a device that holds it and keeps it. */
function answer(reply: FastifyReply, { manifestId, sha256, manifest }: Unchanged, isMinimal: boolean): void {
  const body: UnchangedResponse | { manifest: Manifest | undefined } = isMinimal ? { unchanged: { manifestId, sha256 } } : { manifest };
  if (isMinimal) void reply.header('preference-applied', PREFER_MINIMAL);
  void reply.status(200).send(body);
}

/** Aborts when the client goes away before it has the whole answer. */
function closedSignal(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort();
  });
  return controller.signal;
}

import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Body, Controller, Inject, Post, Req, Res } from '@nestjs/common';
import {
  CHECKPOINT_HEADER,
  type EnclosedDeltas,
  type Manifest,
  type ManifestSignature,
  PREFER_MINIMAL,
  prefersMinimal,
  type SyncRequest,
  syncRequestSchema,
  type UnchangedResponse,
  WaypostError,
} from '@waypost/contracts';
import { faultPoint } from '@waypost/runtime';
import { ZodPipe } from '@waypost/runtime/service';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { ManifestService } from '../admission/manifest-service.js';
import { RequestAudit, type RequestFacts } from '../audit/request-audit.js';
import { LedgerCheckpoints } from '../ledger/ledger-checkpoints.js';
import { ShadowReads } from '../maintenance/shadow-reads.js';
import { DeltaService } from '../manifests/delta-service.js';
import { UnchangedLookup } from '../manifests/unchanged-lookup.js';
import { ManifestSigner } from '../trust/manifest-signer.js';
import { PAYLOAD_TYPES, type PayloadForm, writePayload } from '../snapshots/write-payload.js';
import { chooseEncoding, createEncoder, encode } from './content-encoding.js';
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
    private readonly signer: ManifestSigner,
    private readonly deltas: DeltaService,
    private readonly liveResponses: LiveResponses,
    private readonly shadowReads: ShadowReads,
    private readonly audit: RequestAudit,
    private readonly database: DatabaseIdentityHeader,
    private readonly checkpoints: LedgerCheckpoints,
    @Inject(DEVICE_API_OPTIONS) private readonly options: DeviceApiOptions,
  ) {}

  @Post()
  @DeviceOperation('request')
  async request(
    @Body(new ZodPipe(syncRequestSchema)) { have, payload, encloseDeltas = 0 }: SyncRequest,
    @Device() { mac }: DeviceIdentity,
    @Facts() facts: RequestFacts,
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    facts.have = have;
    await faultPoint('central.request-received');
    const signal = closedSignal(reply);
    await this.database.addTo(reply);
    if (this.checkpoints.header !== undefined) void reply.header(CHECKPOINT_HEADER, this.checkpoints.header);
    if (payload) return this.sendPayload(payload, { mac, have, signal }, facts, request, reply);
    const isMinimal = prefersMinimal(request.headers['prefer']);
    const held = await this.unchanged.find(facts, isMinimal);
    const encoding = chooseEncoding(request.headers['accept-encoding']);
    if (held) {
      this.shadowReads.answered(mac, held.manifestId);
      const signature = await this.signer.sign(held.sha256);
      return isMinimal ? answerUnchanged(reply, held, signature) : answerManifest(reply, { manifest: held.manifest, signature }, encoding);
    }
    const live = have ? undefined : this.liveResponses.open(request, reply);
    const issued = await this.manifests.answer({ mac, have, signal, observer: live });
    await this.audit.issued(facts, issued);
    await faultPoint('central.request-audited');
    const { manifest, isNew } = issued;
    const signature = await this.signer.sign(manifest.sha256);
    if (live?.begun) return live.end(manifest, signature);
    const isHeld = !isNew && manifest.manifestId === have?.manifestId;
    if (isMinimal && isHeld) return answerUnchanged(reply, manifest, signature);
    const deltas =
      have && !isHeld && encloseDeltas > 0 ? await this.deltas.enclose(manifest, { base: have.manifestId, mac }, encloseDeltas) : {};
    return answerManifest(reply, { manifest, signature, ...(Object.keys(deltas).length > 0 ? { deltas } : {}) }, encoding);
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

/** Only which manifest it is, for a device that holds it and keeps it. */
function answerUnchanged(reply: FastifyReply, { manifestId, sha256 }: UnchangedResponse['unchanged'], signature: ManifestSignature): void {
  const body: UnchangedResponse = { unchanged: { manifestId, sha256 }, signature };
  void reply.header('preference-applied', PREFER_MINIMAL).status(200).send(body);
}

/** A shorter answer is sent as it is. */
const MIN_ENCODED_BYTES = 512;

async function answerManifest(
  reply: FastifyReply,
  { manifest, signature, deltas }: { manifest: Manifest | undefined; signature: ManifestSignature } & Partial<EnclosedDeltas>,
  encoding: ReturnType<typeof chooseEncoding>,
): Promise<void> {
  const body = { manifest, signature, ...(deltas ? { deltas } : {}) };
  void reply.status(200);
  if (!encoding) return void reply.send(body);
  const json = Buffer.from(JSON.stringify(body));
  if (json.length < MIN_ENCODED_BYTES) return void reply.send(body);
  const encoded = await encode(json, encoding);
  void reply
    .headers({ 'content-type': 'application/json; charset=utf-8', 'content-encoding': encoding, vary: 'accept-encoding' })
    .send(encoded);
}

/** Aborts when the client goes away before it has the whole answer. */
function closedSignal(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort();
  });
  return controller.signal;
}

import { Inject, Injectable } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import { deviceBusy } from '../manifests/device-locks.js';
import type { IssuedManifest } from '../manifests/issue-manifests.js';
import { ManifestBuilder, type WithRows } from '../manifests/manifest-builder.js';
import { PendingRequest, type SnapshotRequest } from '../manifests/pending-request.js';
import { SyncMetrics } from '../metrics/sync-metrics.js';
import { ScopeGroupResolver } from '../scopes/scope-group-resolver.js';
import { ADMISSION_OPTIONS, type AdmissionOptions } from './admission-options.js';
import { RequestCoalescer } from './request-coalescer.js';
import { KeyedMutex, Semaphore, type WaitOptions } from './semaphore.js';

interface Request extends SnapshotRequest {
  /** Fires when the client disconnects. */
  signal: AbortSignal;
  withRows?: WithRows;
}

/** All of a run are answered after its snapshot is built: the last of more would wait for all the others. */
const MAX_REQUESTS = 200;

/** Answers a device's request for a manifest, together with the requests of the same scope group that wait at the time. */
@Injectable()
export class ManifestService {
  private readonly devices: KeyedMutex;
  private readonly coalescer: RequestCoalescer;
  private readonly payloads: Semaphore;

  constructor(
    @Inject(ADMISSION_OPTIONS) private readonly options: AdmissionOptions,
    private readonly scopeGroups: ScopeGroupResolver,
    private readonly builder: ManifestBuilder,
    metrics: SyncMetrics,
  ) {
    this.devices = new KeyedMutex(deviceBusy);
    this.coalescer = new RequestCoalescer({
      permits: options.maxBuilds,
      maxRequests: MAX_REQUESTS,
      run: (requests, signal) => builder.run(requests, { signal }),
      busy: () => new WaypostError('CENTRAL_BUSY'),
    });
    metrics.watchBuilds(this.coalescer);
    this.payloads = new Semaphore(
      options.maxPayloads,
      () => new WaypostError('CENTRAL_BUSY', { hint: 'Ask again later. If this lasts, raise MAX_CONCURRENT_PAYLOADS.' }),
    );
  }

  /**
   * A device waits for its own other requests before it takes a permit that others could use; requests with rows, which last as long as their
   * receiver takes, have permits of their own.
   * @throws WaypostError DEVICE_UNKNOWN, DEVICE_AMBIGUOUS, DEVICE_INACTIVE, CENTRAL_BUSY, SNAPSHOT_TOO_SLOW, LOCK_TIMEOUT,
   * DATABASE_UNAVAILABLE, STORAGE_FAILED, ROW_TOO_LARGE; the signal's reason
   */
  async answer({ withRows, signal, ...asked }: Request): Promise<IssuedManifest> {
    const waiting = { until: performance.now() + this.options.queueTimeoutMs, signal };
    using device = await this.devices.take(asked.mac, waiting);
    // Before any permit is taken: MACs that no device has cost nothing, and anyone can send as many as they like.
    const scopeKey = await this.scopeGroups.resolve(asked.mac);
    if (withRows) return await this.answerWithRows(asked, waiting, device, withRows);
    return await this.coalescer.answer(asked, scopeKey, waiting);
  }

  private async answerWithRows(
    asked: SnapshotRequest,
    waiting: WaitOptions,
    device: Disposable,
    withRows: WithRows,
  ): Promise<IssuedManifest> {
    using _permit = await this.payloads.take(waiting);
    const request = new PendingRequest(asked, '');
    await this.builder.run([request], {
      signal: waiting.signal,
      withRows: async (issued, snapshot, client) => {
        device[Symbol.dispose]();
        await withRows(issued, snapshot, client);
      },
    });
    return await request.answer;
  }
}

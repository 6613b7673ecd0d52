import type { WaypostError } from '@waypost/contracts';
import type { IssuedManifest } from '../manifests/issue-manifests.js';
import { PendingRequest, type SnapshotRequest } from '../manifests/pending-request.js';
import type { WaitOptions } from './semaphore.js';

interface QueuedRequest {
  request: PendingRequest;
  /** In the order of arrival. */
  number: number;
  /** It has waited for half of its time: where a permit is free, it no longer waits for another run of its scope group. */
  pastSoftDeadline: boolean;
  /** Its time has ended: it is rejected unless the run that holds it answers it. */
  isExpired: boolean;
}

interface Run {
  requests: QueuedRequest[];
  abortController: AbortController;
}

interface Options {
  /** Runs at one time. */
  permits: number;
  /** More requests of one scope group make another run. */
  maxRequests: number;
  /** Settles the requests, or throws the error that all get which are not settled. A request that is left after that is queued again. */
  run: (requests: readonly PendingRequest[], signal: AbortSignal) => Promise<void>;
  busy: () => WaypostError;
}

/**
 * Coalesces requests: those of one scope group that wait at the same time are answered by one run. A run takes the requests that wait when it begins; a
 * later request waits for the next run, since the snapshot may lack what the device was told of meanwhile. `permits` runs go on at one time, the longest
 * waiting first; one at a time of each scope group, because the next one finds most of the work done.
 */
export class RequestCoalescer {
  private queue: QueuedRequest[] = [];
  private readonly running = new Set<Run>();
  private arrivals = 0;

  constructor(private readonly options: Options) {}

  get inUse(): number {
    return this.running.size;
  }

  get waiting(): number {
    return this.queue.length;
  }

  /**
   * @throws what `run` throws; what `busy` makes when the deadline passes before a run takes the request; the signal's reason when it fires
   */
  async answer(asked: SnapshotRequest, scopeKey: string, { until, signal }: WaitOptions): Promise<IssuedManifest> {
    signal.throwIfAborted();
    const request = new PendingRequest(asked, scopeKey);
    const queued: QueuedRequest = { request, number: (this.arrivals += 1), pastSoftDeadline: false, isExpired: false };
    const leftMs = Math.max(0, until - performance.now());
    const timers = [
      setTimeout(() => {
        queued.pastSoftDeadline = true;
        this.dispatch();
      }, leftMs / 2),
      setTimeout(() => {
        queued.isExpired = true;
        if (this.queue.includes(queued)) this.remove(queued, this.options.busy());
      }, leftMs),
    ];
    const onAbort = (): void => this.remove(queued, signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    this.queue.push(queued);
    this.dispatch();
    try {
      return await request.answer;
    } finally {
      for (const timer of timers) clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Rejects the request. A run without an unsettled request is aborted. */
  private remove(queued: QueuedRequest, reason: unknown): void {
    queued.request.reject(reason);
    this.queue = this.queue.filter((other) => other !== queued);
    for (const { requests, abortController } of this.running) {
      if (requests.includes(queued) && requests.every(({ request }) => request.isSettled)) abortController.abort(reason);
    }
  }

  private dispatch(): void {
    while (this.running.size < this.options.permits) {
      const first = this.findFirst();
      if (!first) return;
      const { isAlone, scopeKey } = first.request;
      const mayJoin = ({ request }: QueuedRequest): boolean => !isAlone && !request.isAlone && request.scopeKey === scopeKey;
      const requests = this.queue.filter((queued) => queued === first || mayJoin(queued)).slice(0, this.options.maxRequests);
      const taken = new Set(requests);
      this.queue = this.queue.filter((queued) => !taken.has(queued));
      const run: Run = { requests, abortController: new AbortController() };
      this.running.add(run);
      void first.request.within(() => this.execute(run));
    }
  }

  private findFirst(): QueuedRequest | undefined {
    const scopeKeys = new Set([...this.running].flatMap(({ requests }) => requests.map(({ request }) => request.scopeKey)));
    return this.queue.find(({ request, pastSoftDeadline }) => request.isAlone || pastSoftDeadline || !scopeKeys.has(request.scopeKey));
  }

  private async execute(run: Run): Promise<void> {
    const requests = run.requests.map(({ request }) => request);
    try {
      await this.options.run(requests, run.abortController.signal);
    } catch (error) {
      for (const request of requests) if (!request.isSettled) request.reject(error);
    }
    this.running.delete(run);
    const left = run.requests.filter(({ request }) => !request.isSettled);
    for (const { request, isExpired } of left) if (isExpired) request.reject(this.options.busy());
    this.queue.push(...left.filter(({ request }) => !request.isSettled));
    this.queue.sort((one, other) => one.number - other.number);
    this.dispatch();
  }
}

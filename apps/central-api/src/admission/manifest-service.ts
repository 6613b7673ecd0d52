import { Inject, Injectable } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import { CONFIG, type Config } from '../config.js';
import { SyncMetrics } from '../metrics/sync-metrics.js';
import type { IssuedManifest } from '../manifests/issue-manifests.js';
import { FindShare } from '../scopes/scope-group-resolver.js';
import { AnswerFlight, type WithRows } from '../manifests/manifest-builder.js';
import { type Asked, Flights, Member } from './request-coalescer.js';
import { deviceBusy } from '../plan/lock-tables.js';
import { type Patience, Turns, TurnsByKey } from './semaphore.js';

interface Request extends Asked {
  /** Fires when the client goes away. */
  signal: AbortSignal;
  withRows?: WithRows;
}

/** Each is answered on its own after their snapshot is there: the last of more would wait for all the others. */
const MAX_MEMBERS = 200;

/** Answers a device's request: at once with all who ask for the same share at the time. */
@Injectable()
export class AnswerRequest {
  private readonly devices: TurnsByKey;
  private readonly flights: Flights;
  private readonly payloads: Turns;

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    private readonly shares: FindShare,
    private readonly flight: AnswerFlight,
    metrics: SyncMetrics,
  ) {
    this.devices = new TurnsByKey(deviceBusy);
    this.flights = new Flights({
      places: config.MAX_CONCURRENT_BUILDS,
      maxMembers: MAX_MEMBERS,
      fly: (members, signal) => flight.run(members, { signal }),
      busy: () => new WaypostError('CENTRAL_BUSY'),
    });
    metrics.watchBuilds(this.flights);
    this.payloads = new Turns(
      config.MAX_CONCURRENT_PAYLOADS,
      () => new WaypostError('CENTRAL_BUSY', { hint: 'Ask again later. If this lasts, raise MAX_CONCURRENT_PAYLOADS.' }),
    );
  }

  /**
   * A device waits for its own other requests before it takes a place that others could use; requests with rows, which last as long as their
   * receiver takes, have places of their own.
   * @throws WaypostError DEVICE_UNKNOWN, DEVICE_AMBIGUOUS, DEVICE_INACTIVE, CENTRAL_BUSY, SNAPSHOT_TOO_SLOW, LOCK_TIMEOUT,
   * DATABASE_UNAVAILABLE, STORAGE_FAILED, ROW_TOO_LARGE; the signal's reason
   */
  async answer({ withRows, signal, ...asked }: Request): Promise<IssuedManifest> {
    const patience = { until: performance.now() + this.config.BUILD_QUEUE_TIMEOUT, signal };
    using device = await this.devices.take(asked.mac, patience);
    // Before any place is taken: MACs that no device has cost nothing, and there are as many as anyone likes.
    const share = await this.shares.of(asked.mac);
    if (withRows) return this.answerWithRows(asked, patience, device, withRows);
    return this.flights.join(asked, share, patience);
  }

  private async answerWithRows(asked: Asked, patience: Patience, device: Disposable, withRows: WithRows): Promise<IssuedManifest> {
    using _place = await this.payloads.take(patience);
    const member = new Member(asked, '');
    await this.flight.run([member], {
      signal: patience.signal,
      withRows: async (issued, snapshot, client) => {
        device[Symbol.dispose]();
        await withRows(issued, snapshot, client);
      },
    });
    return member.answer;
  }
}

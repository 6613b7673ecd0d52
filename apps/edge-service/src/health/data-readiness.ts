import { Injectable } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import { TtlCache } from '@waypost/runtime';
import { toWaypostError } from '@waypost/runtime/service';
import { Database } from '../database/database.js';
import { Metrics } from '../metrics/metrics.js';
import { MirrorState } from '../state/mirror-state.js';

/** The mirrored tables hold a manifest's rows, proven and committed. */
export interface DataReady {
  status: 'ready';
  manifestId: string;
  epoch: string;
  sequence: number;
  verifiedAt: string;
  verifiedAgeSeconds: number;
}

/** For callers that poll: one query for all of them. */
const STATE = { ttlMs: 0, timeoutMs: 3000 };

/** Whether services on the device have data to read. The database itself says so: a restart changes nothing. */
@Injectable()
export class DataReadiness {
  private readonly answer = new TtlCache(() => this.read(), STATE);

  constructor(
    private readonly database: Database,
    private readonly state: MirrorState,
    private readonly metrics: Metrics,
  ) {}

  /** @returns DATABASE_UNAVAILABLE while the database is away, DATA_NOT_READY before the first verified load; never throws */
  async find(): Promise<DataReady | WaypostError> {
    return (await this.answer.get()) ?? new WaypostError('DATABASE_UNAVAILABLE');
  }

  private async read(): Promise<DataReady | WaypostError> {
    // Before the migrations have run, nothing was loaded that could be read, or the next query finds it.
    if (!this.database.ready) return new WaypostError('DATABASE_UNAVAILABLE', { detail: 'The service is not done connecting.' });
    try {
      const applied = await this.state.findApplied();
      if (!applied) return new WaypostError('DATA_NOT_READY');
      const { manifestId, epoch, sequence, verifiedAt } = applied;
      this.metrics.verified.restore(verifiedAt);
      const verifiedAgeSeconds = Math.round((this.metrics.verified.ageMs ?? 0) / 1000);
      return { status: 'ready', manifestId, epoch, sequence, verifiedAt: verifiedAt.toISOString(), verifiedAgeSeconds };
    } catch (error) {
      const { code, hint } = toWaypostError(error);
      return new WaypostError(code, { hint });
    }
  }
}

import { Injectable } from '@nestjs/common';
import { faultPoint } from '@waypost/runtime';
import type pg from 'pg';
import { AckOutbox } from '../acks/ack-outbox.js';
import { SyncLog } from '../audit/sync-log.js';
import type { Applied, Cycle } from '../phase/cycle.js';
import type { VerifiedTable } from '../verify/verify-table.js';
import { MirrorState } from '../state/mirror-state.js';
import type { MirrorDiff } from './compare-mirror.js';
import { COMMIT_DURABLY } from './mirror.sql.js';

/** The last statements of the transaction that changes the mirror. */
@Injectable()
export class RecordSuccess {
  constructor(
    private readonly state: MirrorState,
    private readonly audit: SyncLog,
    private readonly acks: AckOutbox,
  ) {}

  /** Audit, state and ack become true together with the rows. @param loaded tables that were loaded and read back */
  async run(
    { cycleId, elapsedMs, progress }: Cycle,
    client: pg.ClientBase,
    { manifest, before, rehashed }: MirrorDiff,
    applied: Applied,
    loaded: ReadonlyMap<string, VerifiedTable> = new Map(),
  ): Promise<void> {
    await client.query(COMMIT_DURABLY);
    await this.state.record(client, manifest, before, new Map([...rehashed, ...loaded]));
    await this.audit.finishWith(client, {
      cycleId,
      status: applied.status,
      durationMs: elapsedMs(),
      manifestId: manifest.manifestId,
      downloadedBytes: progress.downloadedBytes,
      rowsLoaded: applied.rowsLoaded,
      tables: applied.tables,
    });
    if (applied.acknowledge) await this.acks.queueSuccess(client, manifest, elapsedMs());
    await faultPoint('edge.before-commit');
  }
}

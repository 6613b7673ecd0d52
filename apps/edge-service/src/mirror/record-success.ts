import { Injectable } from '@nestjs/common';
import type { DriftReport } from '@waypost/contracts';
import { faultPoint, queryPrepared } from '@waypost/runtime';
import type pg from 'pg';
import { AckOutbox } from '../acks/ack-outbox.js';
import { outcomeParameters, tableParameters } from '../audit/sync-log.js';
import type { Applied, Cycle } from '../phase/cycle.js';
import { writeHeldChunks } from '../state/held-chunks.js';
import { stateParameters } from '../state/mirror-state.js';
import type { VerifiedTable } from '../verify/verify-table.js';
import type { MirrorDiff } from './compare-mirror.js';
import { RECORD_CYCLE } from './mirror.sql.js';

/** The row of RECORD_CYCLE. */
interface Recorded {
  keptRows: number;
  drifts: DriftReport[] | null;
}

/** The last statements of the transaction that changes the mirror. */
@Injectable()
export class RecordSuccess {
  constructor(private readonly acks: AckOutbox) {}

  /** Audit, state and ack become true together with the rows. @param loaded tables that were loaded and read back */
  async run(
    { cycleId, elapsedMs, progress, vouched }: Cycle,
    client: pg.ClientBase,
    { manifest, before, rehashed }: MirrorDiff,
    applied: Applied,
    loaded: ReadonlyMap<string, VerifiedTable> = new Map(),
  ): Promise<void> {
    const { manifestId } = manifest;
    const read = new Map([...rehashed, ...loaded]);
    const outcome = { ...applied, cycleId, manifestId, durationMs: elapsedMs(), downloadedBytes: progress.downloadedBytes };
    const [recorded] = await queryPrepared<Recorded>(client, 'record', RECORD_CYCLE, [
      ...outcomeParameters(outcome),
      ...tableParameters(applied.tables),
      ...stateParameters(manifest, before, { read, vouched }),
    ]);
    const { keptRows, drifts } = recorded as Recorded;
    applied.keptRows = keptRows;
    for (const { name } of manifest.tables) if (read.has(name)) await writeHeldChunks(client, name, read.get(name)!);
    const readOf = (name: string) => (read.has(name) ? (loaded.get(name)?.changed ? 'changed' : 'whole') : 'none');
    if (applied.acknowledge)
      await this.acks.queueSuccess(client, { manifest, durationMs: elapsedMs(), drifts: drifts ?? [], read: readOf });
    await faultPoint('edge.before-commit');
  }
}

import { Inject, Injectable } from '@nestjs/common';
import type { Have } from '@waypost/contracts';
import { AdvisoryLock, ADVISORY_NAMESPACE, type Ask, askerOf, LOGGER, sqlStateOf, SqlState } from '@waypost/runtime';
import type pg from 'pg';
import type { Logger } from 'pino';
import { ulid } from 'ulid';

const READ_STATE = `
  SELECT max(value) FILTER (WHERE key = 'epoch') AS epoch, max(value) FILTER (WHERE key = 'cluster') AS cluster FROM waypost.central_state`;
const READ_CLUSTER = `
  SELECT (pg_control_system()).system_identifier || '/' || (pg_control_checkpoint()).timeline_id || '/' ||
         (SELECT oid FROM pg_database WHERE datname = current_database()) AS cluster`;
const WRITE_STATE = `
  INSERT INTO waypost.central_state VALUES ('epoch', $1), ('cluster', $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value`;
const READ_SEQUENCE = `SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS last FROM waypost.manifest_sequence`;

/**
 * Knows the epoch: within one, sequences only grow. A new one starts when the database is another than before (restored, copied,
 * failed over: other system identifier, timeline or database), or when a device proves that the database went back in time
 * by holding a sequence that was never given out.
 */
@Injectable()
export class EpochKeeper {
  private readonly clusters = new WeakMap<pg.ClientBase, string>();

  constructor(@Inject(LOGGER) private readonly logger: Logger) {}

  /**
   * The epoch in force. Call it outside of a transaction.
   * @param haves what devices say to hold
   */
  async current(client: pg.ClientBase, haves: readonly Have[]): Promise<string> {
    const ask = askerOf(client);
    const cluster = await this.readCluster(ask);
    const isRight = (): Promise<string | undefined> => this.findRight(ask, cluster, haves);
    return (await isRight()) ?? this.startEpoch(client, cluster, isRight);
  }

  /** Which database this is. A connection never comes to another one. */
  async clusterOf(client: pg.ClientBase): Promise<string> {
    const cluster = this.clusters.get(client) ?? (await this.readCluster(askerOf(client)));
    this.clusters.set(client, cluster);
    return cluster;
  }

  private async findRight(ask: Ask, cluster: string, haves: readonly Have[]): Promise<string | undefined> {
    const state = await this.readState(ask);
    if (!state.epoch || state.cluster !== cluster) return undefined;
    return (await this.wentBack(ask, state.epoch, haves)) ? undefined : state.epoch;
  }

  private async startEpoch(client: pg.ClientBase, cluster: string, isRight: () => Promise<string | undefined>): Promise<string> {
    await client.query('SELECT pg_advisory_lock($1, $2)', [ADVISORY_NAMESPACE, AdvisoryLock.epoch]);
    try {
      const startedMeanwhile = await isRight();
      if (startedMeanwhile) return startedMeanwhile;
      const epoch = ulid();
      const isFirst = !(await this.readState(askerOf(client))).epoch;
      await client.query(WRITE_STATE, [epoch, cluster]);
      if (isFirst) this.logger.info({ epoch, cluster }, 'the first epoch has started');
      else this.logger.warn({ epoch, cluster }, 'a new epoch has started: this database was restored or replaced');
      return epoch;
    } finally {
      await client.query('SELECT pg_advisory_unlock($1, $2)', [ADVISORY_NAMESPACE, AdvisoryLock.epoch]);
    }
  }

  private async readState(ask: Ask): Promise<{ epoch: string | null; cluster: string | null }> {
    const [row] = await ask<{ epoch: string | null; cluster: string | null }>(READ_STATE);
    return row ?? { epoch: null, cluster: null };
  }

  private async wentBack(ask: Ask, epoch: string, haves: readonly Have[]): Promise<boolean> {
    const sequences = haves.filter((have) => have.epoch === epoch).map(({ sequence }) => sequence);
    if (sequences.length === 0) return false;
    const [row] = await ask<{ last: string }>(READ_SEQUENCE);
    return Math.max(...sequences) > Number(row?.last);
  }

  /** Where the server does not let us see its identity, devices' sequences remain as the way to notice a restore. */
  private async readCluster(ask: Ask): Promise<string> {
    try {
      const [row] = await ask<{ cluster: string }>(READ_CLUSTER);
      return row?.cluster ?? 'unknown';
    } catch (error) {
      if (sqlStateOf(error) !== SqlState.insufficientPrivilege) throw error;
      return 'unknown';
    }
  }
}

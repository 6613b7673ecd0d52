import { Inject, Injectable } from '@nestjs/common';
import { type Manifest, parseTableName, quoteTable, type TableIdentifier, type TableIndex } from '@waypost/contracts';
import { databaseError, LOGGER } from '@waypost/runtime';
import type pg from 'pg';
import type { Logger } from 'pino';
import type { Cycle } from '../phase/cycle.js';
import type { CyclePhase, OpenCycle } from '../phase/cycle-phase.js';
import { CycleSteps } from '../phase/cycle-steps.js';
import { ownName } from './index-statement.js';
import { type CreatedTable, type OwnIndex, OwnIndexes } from './own-indexes.js';

interface MissingIndex {
  table: TableIdentifier;
  tableOid: string;
  index: TableIndex;
  name: string;
}

/** What is to be done. */
interface Changes {
  surplus: OwnIndex[];
  missing: MissingIndex[];
}

const REFUSED_HINT =
  'The sync goes on without it. Make an index of your own on the device if its readers need one, or switch this off in the plan: indexes: none. It is tried again when its definition changes, and after a restart.';
const DISCARDED_HINT =
  'A row of central does not fit an index here that it fits at central. The rows are loaded without; the indexes are tried again after a restart.';

/**
 * Gives tables that Waypost created the secondary indexes that the manifest names, and takes back those that it does not name any more. The rows are committed and acknowledged
 * before: an index delays no data, and none that fails makes a cycle fail.
 */
@Injectable()
export class KeepIndexes implements CyclePhase {
  /** SHA-256 of the manifest whose indexes are all made, or refused. */
  private settled: string | undefined;
  /** Those that this database does not take, by table and name. */
  private readonly refused = new Set<string>();

  constructor(
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly own: OwnIndexes,
    private readonly steps: CycleSteps,
  ) {}

  reset(): void {
    this.settled = undefined;
    this.refused.clear();
  }

  async run({ cycle, client, applied }: OpenCycle): Promise<void> {
    if (!applied || (applied.status === 'Unchanged' && applied.manifest.sha256 === this.settled)) return;
    // A statement that is running ends for certain only with its connection: PostgreSQL then rolls back.
    const disconnect = (): void => void client.end();
    cycle.forceStop.addEventListener('abort', disconnect, { once: true });
    try {
      const isSettled = await this.keep(cycle, client, applied.manifest);
      this.settled = isSettled ? applied.manifest.sha256 : undefined;
    } catch (err) {
      this.settled = undefined;
      cycle.log.warn({ err }, 'secondary indexes could not be brought in step: the next cycle tries again');
    } finally {
      cycle.forceStop.removeEventListener('abort', disconnect);
    }
  }

  /**
   * Drops all of Waypost's own indexes, because a row cannot be loaded with one of them.
   * @returns false where there was none
   */
  async discard(client: pg.ClientBase, error: Error): Promise<boolean> {
    const tables = await this.own.find(client);
    const indexes = tables.flatMap((table) => table.indexes.map((index) => ({ index, key: keyOf(table.oid, index.name) })));
    if (indexes.length === 0) return false;
    this.logger.warn(
      { err: error, indexes: indexes.map(({ index }) => index.name), hint: DISCARDED_HINT },
      'secondary indexes are dropped',
    );
    for (const { index, key } of indexes) {
      await this.own.drop(client, index);
      this.refused.add(key);
    }
    return true;
  }

  /** @returns false where something is left for the next cycle */
  private async keep(cycle: Cycle, client: pg.ClientBase, manifest: Manifest): Promise<boolean> {
    const { surplus, missing } = this.compare(manifest, await this.own.find(client));
    if (surplus.length + missing.length === 0) return true;
    let isSettled = true;
    await this.steps.run(cycle, 'indexes', { missing: missing.length, surplus: surplus.length }, async () => {
      for (const index of surplus) await this.own.drop(client, index);
      for (const entry of missing) {
        if (cycle.stop.aborted) isSettled = false;
        else isSettled = (await this.create(client, entry)) && isSettled;
      }
    });
    return isSettled;
  }

  private compare(manifest: Manifest, created: readonly CreatedTable[]): Changes {
    const changes: Changes = { surplus: [], missing: [] };
    const locals = new Map(created.map((table) => [table.relation, table]));
    for (const { name, indexes = [] } of manifest.tables) {
      const table = parseTableName(name);
      const local = locals.get(quoteTable(table));
      if (!local) continue;
      const wanted = new Map(indexes.map((index) => [ownName(table, index), index]));
      const held = new Set(local.indexes.filter(({ isValid }) => isValid).map((index) => index.name));
      changes.surplus.push(...local.indexes.filter((index) => !index.isValid || !wanted.has(index.name)));
      for (const [own, index] of wanted) {
        if (held.has(own) || this.refused.has(keyOf(local.oid, own))) continue;
        changes.missing.push({ table, tableOid: local.oid, index, name: own });
      }
    }
    return changes;
  }

  /** @returns false where it may succeed in the next cycle */
  private async create(client: pg.ClientBase, { table, tableOid, index, name }: MissingIndex): Promise<boolean> {
    const facts = { table: quoteTable(table), index: index.name };
    try {
      await this.own.create(client, table, tableOid, index);
      this.logger.info({ ...facts, name }, 'secondary index made');
      return true;
    } catch (err) {
      const passing = databaseError(err);
      if (passing?.code === 'DATABASE_UNAVAILABLE') throw err;
      if (passing) {
        this.logger.warn({ ...facts, err: passing }, 'secondary index could not be made: the next cycle tries again');
        return false;
      }
      this.refused.add(keyOf(tableOid, name));
      this.logger.warn({ ...facts, err, hint: REFUSED_HINT }, 'secondary index cannot be made here');
      return true;
    }
  }
}

function keyOf(tableOid: string, name: string): string {
  return `${tableOid} ${name}`;
}

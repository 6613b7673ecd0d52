import { Inject, Injectable } from '@nestjs/common';
import { type ErrorCode, type ManifestTable, type TableShape, WaypostError } from '@waypost/contracts';
import { faultPoint, LOGGER, pinSession, SqlState, sqlStateOf, withTransaction } from '@waypost/runtime';
import { ExponentialBackoff, handleWhen, retry } from 'cockatiel';
import type pg from 'pg';
import type { Logger } from 'pino';
import { recordSchemaChanges, type SchemaChange } from '../audit/schema-changes.js';
import { shuttingDown } from '../central/race-abort.js';
import type { Alterations } from '../schema/plan-changes.js';
import { addLabelStatement } from '../schema/user-types.js';
import { holdsWhatItHeld } from '../verify/holds-what-it-held.js';
import { leaveTables } from '../state/leave-tables.js';
import { OwnedTables } from '../state/owned-tables.js';
import { alterTables, runDefinition } from './alter-tables.js';
import { chooseLoadModes, type LoadMode } from './choose-load-modes.js';
import { createTables } from './create-tables.js';
import { type Mirror, MirrorInspector } from './mirror-inspector.js';
import { proveMirror } from './prove-mirror.js';
import { loadError, tablesLocked } from './load-errors.js';
import { LOAD_OPTIONS, type LoadOptions } from './load-options.js';
import { loadTable, lockStatement, lockWritersStatement, truncateStatement } from './load-table.js';
import type { LoadOrder, SchemaOrder } from './load-order.js';
import { withReferencing } from './local-references.js';
import { mergeTables, stageTable } from './merge-tables.js';
import { type MergedTable, mergedTable } from './merged-table.js';
import { type StagedChanges, stageChanges } from './stage-changes.js';
import { verifyLoad } from './verify-load.js';
import { WriteLedger } from './write-ledger.js';
import { FIND_ROW_TRIGGERS } from './write-ledger.sql.js';

/** Each try waits up to `lockTimeoutMs` for the lock; between tries the readers that queued behind it proceed. */
const LOCK_RETRIES = 5;
const TRIGGERS_HINT =
  'A trigger that changes or skips a row makes the sync fail (VERIFICATION_FAILED): ALTER TABLE … DISABLE TRIGGER …, see docs/moving-an-application.md. One that only checks rows may stay.';

/** What the transaction found before it writes rows. */
export interface Prepared extends Mirror {
  modes: ReadonlyMap<string, LoadMode>;
  /** Names of tables that did not exist. */
  created: ReadonlySet<string>;
  ledger: WriteLedger;
  /** Of tables that are not loaded: done last, so that their readers wait for nothing else. */
  late: Alterations;
  /** Names of the tables that have retained rows. */
  withRetained: ReadonlySet<string>;
}

/** Puts downloaded tables into the database: all of them, verified and written down, or nothing. */
@Injectable()
export class LoadTransaction {
  /** Oids of the tables whose triggers were looked at. */
  private lookedAt = '';

  constructor(
    @Inject(LOAD_OPTIONS) private readonly options: LoadOptions,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly owned: OwnedTables,
    private readonly inspector: MirrorInspector,
  ) {}

  /**
   * @throws WaypostError LOCK_TIMEOUT after several tries; MIRROR_ALTERED, LOAD_REFUSED, SCHEMA_MISMATCH, TABLE_NOT_OURS, LOCAL_REFERENCE, SIDE_EFFECT,
   * CHUNK_CORRUPT, VERIFICATION_FAILED, DATABASE_UNAVAILABLE, SHUTTING_DOWN: in all cases nothing was changed
   */
  async run(client: pg.PoolClient, order: LoadOrder): Promise<void> {
    const locked = (error: unknown): boolean => error instanceof WaypostError && error.code === ('LOCK_TIMEOUT' satisfies ErrorCode);
    const tries = retry(handleWhen(locked), {
      maxAttempts: LOCK_RETRIES,
      backoff: new ExponentialBackoff({ initialDelay: 250, maxDelay: 5000 }),
    });
    tries.onRetry(({ delay, attempt }) => {
      this.logger.warn({ attempt, retryInMs: Math.round(delay) }, 'mirrored tables are locked, trying again');
    });
    // A statement that is running ends for certain only with its connection: PostgreSQL then rolls back.
    const disconnect = (): void => void client.end();
    order.signal.addEventListener('abort', disconnect, { once: true });
    try {
      for (const part of [() => this.addLabels(client, order), () => this.once(client, order)]) {
        await tries.execute(async () => {
          if (order.signal.aborted) throw shuttingDown();
          await part().catch((error: unknown) => {
            throw order.signal.aborted ? shuttingDown() : loadError(error);
          });
        }, order.signal);
      }
    } finally {
      order.signal.removeEventListener('abort', disconnect);
    }
    await faultPoint('edge.after-commit');
  }

  /** In a transaction of its own: PostgreSQL takes no value with a new label before that is committed. A label more harms nothing, should the load fail. */
  private async addLabels(client: pg.PoolClient, { cycleId, schema }: LoadOrder): Promise<void> {
    const labels = schema?.labels ?? [];
    if (labels.length === 0) return;
    const changes = labels.map((label): SchemaChange => ({ object: label.type, statement: addLabelStatement(label) }));
    await withTransaction(client, 'READ WRITE', async () => {
      await this.limitTransaction(client);
      for (const { object, statement } of changes) await runDefinition(client, object, statement);
      await recordSchemaChanges(client, cycleId, changes);
    });
    this.logger.info({ changes }, 'labels added to enums');
  }

  private async once(client: pg.PoolClient, order: LoadOrder): Promise<void> {
    const { tables, settle, record, step } = order;
    await withTransaction(client, 'READ WRITE', async () => {
      await pinSession(client);
      await this.limitTransaction(client);
      await faultPoint('edge.transaction-begun');
      const prepared = await step('prepare', {}, () => this.prepare(client, order));
      await faultPoint('edge.tables-prepared');
      await this.loadEmptyTables(client, order, prepared);
      const staged = await this.merge(client, order, prepared);
      // What constraint triggers would do at COMMIT they do now, before it is accounted for and verified.
      await client.query('SET CONSTRAINTS ALL IMMEDIATE');
      await faultPoint('edge.before-verify');
      const loaded = { ...prepared, staged, loaded: tables, manifest: await settle(), allowed: this.options.sideEffectTables, step };
      const verified = await verifyLoad(client, loaded);
      await this.alter(client, order, prepared.late, prepared.tables);
      await this.leave(client, order);
      await record(client, verified);
    });
  }

  /** Creates and alters what is to be, checks again what may have changed during the download, and empties the tables that are to be truncated. */
  private async prepare(client: pg.ClientBase, order: LoadOrder): Promise<Prepared> {
    const { shape, tables, changes } = order;
    const held = order.schema?.held;
    const ledger = await WriteLedger.open(client);
    const { fingerprint, retained } = await proveMirror(client, shape, 'load');
    const recalled = this.inspector.recall(shape, held, fingerprint);
    const before = recalled ?? (await this.inspector.inspect(client, shape, held, fingerprint));
    requireForeseen(before, order.schema);
    const missing = shape.tables.filter(({ name }) => !before.tables.has(name));
    await createTables(client, shape, missing, before.alterations);
    const isLoaded = ([name]: [string, unknown]): boolean => tables.some((table) => table.name === name);
    const early = new Map([...before.alterations].filter(isLoaded));
    const late = new Map([...before.alterations].filter((entry) => !isLoaded(entry)));
    await this.alter(client, order, early, before.tables);
    for (const name of early.keys()) ledger.noteLock(before.tables.get(name)!.oid);
    const mirror = missing.length + early.size > 0 ? await this.inspector.inspect(client, shape, held) : before;
    const withRetained = new Set(retained);
    const truncates = this.options.strategy === 'truncate';
    const needed = truncates ? withReferencing(shape.tables, new Set(tables.map(({ name }) => name)), mirror.references) : [];
    const unforeseen = [...needed, ...missing].find((table) => !tables.includes(table));
    if (unforeseen) {
      // Dropped, or a foreign key added, since the cycle looked: it must look again.
      throw new WaypostError('MIRROR_ALTERED', { detail: `${unforeseen.name} was altered during the cycle.` });
    }
    const created = new Set(missing.map(({ name }) => name));
    const returned = mirror.isOurs ? [] : await this.owned.claim(client, mirror.tables, created, holdsWhatItHeld);
    if (returned.length > 0)
      this.logger.info({ tables: returned }, 'tables came back into the plan as they had left it: they are mirrored again');
    await this.warnOfTriggers(client, mirror);
    if (truncates && tables.length > 0) {
      await this.lockTables(client, lockStatement(tables, mirror.tables));
      await client.query(truncateStatement(tables, mirror.tables));
      for (const { name } of tables) ledger.noteLock(mirror.tables.get(name)!.oid);
    } else {
      const isLocked = (table: TableShape): boolean => tables.includes(table) || withRetained.has(table.name);
      const locked = shape.tables.filter((table) => before.tables.has(table.name) && isLocked(table));
      // From here to COMMIT no other session writes to what is loaded, so that what is verified is what is committed. Tables that are new here need no lock.
      if (locked.length > 0) await this.lockTables(client, lockWritersStatement(locked, before.tables));
    }
    const modes = await chooseLoadModes(client, { strategy: this.options.strategy, tables, changes }, mirror);
    if (mirror !== recalled) await pinSession(client);
    return { ...mirror, modes, created, ledger, late, withRetained };
  }

  /** Readers of these tables wait from here to COMMIT. */
  private async alter(client: pg.ClientBase, order: LoadOrder, alterations: Alterations, locals: Mirror['tables']): Promise<void> {
    if (alterations.size === 0) return;
    const tables = order.shape.tables.filter(({ name }) => alterations.has(name));
    await pinSession(client);
    await this.lockTables(client, lockStatement(tables, locals));
    const done = await alterTables(client, alterations);
    const changes = [...done].flatMap(([object, statements]) => {
      const shapes = { from: shapeIn(order.schema?.held?.tables, object), to: shapeIn(order.shape.tables, object) };
      return statements.map((statement): SchemaChange => ({ object, statement, ...shapes }));
    });
    await recordSchemaChanges(client, order.cycleId, changes);
    this.logger.info({ changes }, 'tables altered as central’s are');
  }

  /** Lets go of tables that left the plan. Once: the manifest that is recorded does not name them. */
  private async leave(client: pg.ClientBase, { cycleId, schema }: LoadOrder): Promise<void> {
    if (!schema || schema.removed.length === 0) return;
    const left = await leaveTables(client, this.owned, {
      held: schema.held?.tables ?? [],
      names: schema.removed,
      drop: schema.dropsRemoved,
    });
    await recordSchemaChanges(
      client,
      cycleId,
      left.map(({ name, statement = 'not mirrored any more', because }): SchemaChange => ({
        object: name,
        statement: because === undefined ? statement : `${statement}: kept, ${because}`,
        from: shapeIn(schema.held?.tables, name),
      })),
    );
    for (const { name: table, statement, because } of left) {
      if (because === undefined)
        this.logger.info(
          { table, statement },
          statement ? 'table left the plan: dropped' : 'table left the plan: it is the device’s own now',
        );
      else this.logger.warn({ table, because }, 'table left the plan, and stays: it is the device’s own now');
    }
  }

  /** Once for each set of tables; what a trigger did is found by verification alone. */
  private async warnOfTriggers(client: pg.ClientBase, { tables }: Mirror): Promise<void> {
    const oids = [...tables.values()].map(({ oid }) => oid);
    if (this.lookedAt === oids.join()) return;
    const { rows: triggers } = await client.query<{ table: string; trigger: string }>(FIND_ROW_TRIGGERS, [oids]);
    this.lookedAt = oids.join();
    if (triggers.length > 0)
      this.logger.warn({ triggers, hint: TRIGGERS_HINT }, 'triggers of mirrored tables may alter rows that are loaded');
  }

  private async loadEmptyTables(client: pg.ClientBase, { tables, spooled, step }: LoadOrder, prepared: Prepared): Promise<void> {
    for (const table of tables) {
      const mode = prepared.modes.get(table.name);
      if (mode === 'merge') continue;
      const isNew = mode === 'truncate' || prepared.created.has(table.name);
      const empty = { table, local: prepared.tables.get(table.name)!, isNew };
      const inserted = await step('load', factsOf(table, mode), () => loadTable(client, empty, spooled.get(table.name)!));
      prepared.ledger.note(empty.local.oid, { inserted });
    }
  }

  /** Also deletes rows that earlier cycles retained and that nothing references any more. */
  private async merge(
    client: pg.ClientBase,
    { shape, tables, spooled, changes, step }: LoadOrder,
    { modes, tables: locals, references, ledger, withRetained }: Prepared,
  ): Promise<Map<string, StagedChanges>> {
    const merged: MergedTable[] = [];
    const changed = new Map<string, StagedChanges>();
    for (const [position, table] of shape.tables.entries()) {
      const { name } = table;
      const hasRetained = withRetained.has(name);
      const change = changes?.get(name);
      const staged = !tables.includes(table) || modes.get(name) !== 'merge' ? undefined : change ? 'changes' : 'all';
      if (!staged && (!hasRetained || !locals.has(name))) continue;
      const entry = await mergedTable(client, { table, local: locals.get(name)!, position, staged, hasRetained });
      if (staged === 'all') await step('load', factsOf(table, 'merge'), () => stageTable(client, entry, spooled.get(name)!));
      if (staged === 'changes')
        changed.set(name, await step('load', { table: name, way: 'delta' }, () => stageChanges(client, entry, change!)));
      merged.push(entry);
    }
    if (merged.length === 0) return changed;
    const counts = await step('merge', { tables: merged.map(({ table }) => table.name) }, () =>
      mergeTables(client, merged, references, ledger),
    );
    for (const [table, written] of counts) {
      ledger.note(locals.get(table)!.oid, written);
      this.logger[written.kept > 0 ? 'warn' : 'info']({ table, ...written }, 'table merged');
    }
    return changed;
  }

  /**
   * Waits up to `lockTimeoutMs` for all locks together. TRUNCATE alone would wait so long for each, and readers of the first table would queue
   * behind us while we wait for the last one.
   */
  private async lockTables(client: pg.ClientBase, statement: string): Promise<void> {
    // PostgreSQL times each of these statements by itself.
    const timed = `SET LOCAL statement_timeout = ${this.options.lockTimeoutMs}; ${statement}; SET LOCAL statement_timeout = 0`;
    await client.query(timed).catch((error: unknown) => {
      throw sqlStateOf(error) === SqlState.queryCanceled ? tablesLocked(error) : error;
    });
  }

  private async limitTransaction(client: pg.ClientBase): Promise<void> {
    // Key ranges that are read back are mostly in memory: PostgreSQL 18 would hand their pages to another process, 180 ms in place of 110 ms after 100 rows.
    await client.query(
      `SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', '0', true),
              set_config('idle_in_transaction_session_timeout', '0', true), set_config('max_parallel_workers_per_gather', '0', true),
              set_config('effective_io_concurrency', '0', true)`,
      [String(this.options.lockTimeoutMs)],
    );
  }
}

function shapeIn(tables: readonly { name: string; shape?: string | undefined }[] | undefined, table: string): string | undefined {
  return tables?.find(({ name }) => name === table)?.shape;
}

/** @throws WaypostError MIRROR_ALTERED where the tables are not as they were when the cycle decided what to load */
function requireForeseen({ alterations, labels }: Mirror, schema: SchemaOrder | undefined): void {
  const isForeseen = labels.length === 0 && JSON.stringify([...alterations]) === JSON.stringify([...(schema?.alterations ?? [])]);
  if (!isForeseen) throw new WaypostError('MIRROR_ALTERED', { detail: 'Columns or types were altered during the cycle.' });
}

function factsOf({ name, ...table }: TableShape & Partial<ManifestTable>, mode: LoadMode | undefined): object {
  const { rowCount, rawBytes } = table;
  return { table: name, way: mode, ...(rowCount === undefined ? {} : { rowCount, rawBytes }) };
}

import { Inject, Injectable } from '@nestjs/common';
import { canonicalJson, sha256Hex } from '@waypost/contracts';
import { queryPrepared, LOGGER, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import type { Logger } from 'pino';
import { CHECKED_PLAN, type CheckedPlan } from '../plan/check-plan.js';
import { checkCapture } from './check-capture.js';
import { findSources } from './find-sources.js';
import type { KeyedTable, UnkeyedTable } from './keyed-tables.js';
import { FINGERPRINT_CATALOG } from './sources.sql.js';
import { READ_SEEN } from './sources.sql.js';

/** What changes are looked for in, and under which definitions that tells everything. */
export interface Tracked {
  /** Oids of the tables whose triggers record changes. */
  tables: string[];
  /** Those among them that the query of each of the plan's tables reads, by the table's name. */
  tablesOf: ReadonlyMap<string, readonly string[]>;
  /** Whether changed rows of the plan's tables can be told from captured keys, by the table's name. */
  keyed: ReadonlyMap<string, KeyedTable | UnkeyedTable>;
  /** Of the plan and of the catalog: what was found under another one says nothing. */
  fingerprint: string;
}

/** Oids of what the plan reads, whose definitions FINGERPRINT_CATALOG looks at; its parameters are these, in this order. */
export interface CatalogParts {
  relations: readonly string[];
  functions: readonly string[];
  types: readonly string[];
}

interface Known extends Tracked, CatalogParts {
  /** False where a change could pass unnoticed: that is not looked into again before a definition is altered. */
  isWhole: boolean;
}

interface Found {
  known: Known;
  /** Why a change could pass unnoticed. */
  reasons: string[];
  /** False where something could not be looked into. */
  isComplete: boolean;
}

const NO_PARTS: CatalogParts = { relations: [], functions: [], types: [] };
/** While definitions are altered all the time nothing is known, and tables are read. */
const MAX_LOOKS = 5;

/** The plan's part of a fingerprint. */
const PLAN_HASH_LENGTH = 16;

/**
 * Knows whether all changes to what the plan reads are recorded (`changes: triggers`). Whatever is in doubt, a missing trigger, a query whose result
 * changes by itself, a definition that was altered, means no: then every request reads the tables, as without capture.
 */
@Injectable()
export class ChangeTracker {
  private known: Known | undefined;
  private readonly planHash: string;
  private lastBlockers = '';

  constructor(
    @Inject(CHECKED_PLAN) private readonly plan: CheckedPlan,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {
    this.planHash = sha256Hex(canonicalJson(plan.file.plan));
  }

  get isWanted(): boolean {
    return this.plan.file.plan.changes === 'triggers';
  }

  /** As it was looked up last; `isCurrent` says whether it still holds. */
  get lastKnown(): (Tracked & CatalogParts) | undefined {
    return this.known?.isWhole ? this.known : undefined;
  }

  /** @param catalog what FINGERPRINT_CATALOG gives now, for what was last known to be read */
  isCurrent(catalog: string): boolean {
    return this.known?.fingerprint === this.withPlan(catalog);
  }

  /** What is watched; looks everything up again where something was altered. Call it outside of a transaction. */
  async refresh(client: pg.ClientBase): Promise<Tracked | undefined> {
    if (!this.isWanted) return undefined;
    const { known } = this;
    const isCurrent = known !== undefined && (await this.fingerprint(client, known)) === known.fingerprint;
    const found = isCurrent ? known : await this.lookUp(client);
    return found.isWhole ? found : undefined;
  }

  /**
   * What the current transaction sees, if `tracked` still holds in it: a definition may have been altered between the two. What is read in the
   * transaction, and what its snapshot is compared with, is then told by the same definitions.
   */
  async seenUnder(client: pg.ClientBase, { fingerprint }: Tracked): Promise<string | undefined> {
    const { known } = this;
    if (known?.fingerprint !== fingerprint) return undefined;
    const [row] = await queryPrepared<{ seen: string; catalog: string }>(client, 'seen', READ_SEEN, catalogParameters(known));
    return row && this.withPlan(row.catalog) === fingerprint ? row.seen : undefined;
  }

  /**
   * Definitions that are altered while they are looked at would be filed under the fingerprint of those that came after: what was found counts only if the
   * fingerprint was the same before.
   */
  private async lookUp(client: pg.ClientBase): Promise<Known> {
    let parts: CatalogParts = this.known ?? NO_PARTS;
    for (let attempt = 1; attempt < MAX_LOOKS; attempt += 1) {
      const before = await this.fingerprint(client, parts);
      const found = await this.look(client);
      if (found.known.fingerprint === before) return this.accept(found);
      parts = found.known;
    }
    const { known } = await this.look(client);
    this.known = undefined;
    return { ...known, isWhole: false };
  }

  private accept({ known, reasons, isComplete }: Found): Known {
    this.report(reasons, known.tables.length);
    // What stood in the way of looking, a missing right for one, is not in the fingerprint: it is tried again.
    this.known = isComplete ? known : undefined;
    return known;
  }

  private async look(client: pg.ClientBase): Promise<Found> {
    return withTransaction(client, 'READ WRITE', async () => {
      const { tables, tablesOf, keyed, blockers: ofSources, isComplete, ...sources } = await findSources(client, this.plan);
      const { uncaptured, blockers, changesTable, ...capture } = await checkCapture(client, tables);
      const reasons = [...ofSources, ...blockers, ...uncaptured.map(({ name, reason }) => `${name} ${reason}`)];
      // What records is looked at with what is read: a table of changes that was emptied or restored says nothing of before.
      const relations = [...sources.relations, ...(changesTable === undefined ? [] : [changesTable])];
      const functions = [...sources.functions, ...capture.functions];
      const { types } = sources;
      const fingerprint = await this.fingerprint(client, { relations, functions, types });
      const isWhole = reasons.length === 0;
      const known = { tables: tables.map(({ oid }) => oid), tablesOf, keyed, relations, functions, types, fingerprint, isWhole };
      return { known, reasons, isComplete: isComplete && capture.isComplete };
    });
  }

  private async fingerprint(client: pg.ClientBase, parts: CatalogParts): Promise<string> {
    const [row] = await queryPrepared<{ fingerprint: string }>(client, 'fingerprint', FINGERPRINT_CATALOG, catalogParameters(parts));
    return this.withPlan(row?.fingerprint ?? '');
  }

  private withPlan(catalog: string): string {
    return `${this.planHash.slice(0, PLAN_HASH_LENGTH)} ${catalog}`;
  }

  /** Once, and again when it is something else. */
  private report(blockers: readonly string[], tables: number): void {
    const text = blockers.join('\n');
    if (text === this.lastBlockers && (text !== '' || this.known)) return;
    this.lastBlockers = text;
    if (text === '') this.logger.info({ tables }, 'changes are captured: devices that are up to date are answered without reading tables');
    else this.logger.warn({ obstacles: blockers }, 'changes cannot be told from triggers: each request reads all tables');
  }
}

export function catalogParameters({ relations, functions, types }: CatalogParts): (readonly string[])[] {
  return [relations, functions, types];
}

import { Inject, Injectable } from '@nestjs/common';
import { type Manifest, type MirrorShape, parseTableName, quoteTable, WaypostError } from '@waypost/contracts';
import { type CatalogTable, describeTables } from '@waypost/runtime';
import type pg from 'pg';
import { compareColumns, type Difference } from '../schema/compare-columns.js';
import { type Alterations, planChanges, planLabels } from '../schema/plan-changes.js';
import { checkTypes, type NewLabel } from '../schema/user-types.js';
import { OwnedTables } from '../state/owned-tables.js';
import { LOAD_OPTIONS, type LoadOptions } from './load-options.js';
import { findReferences, type LocalReference } from './local-references.js';

/** The mirrored tables as the device's database has them. */
export interface Mirror {
  /** By the manifest's name; missing tables are not in it. */
  tables: ReadonlyMap<string, CatalogTable>;
  references: readonly LocalReference[];
  /** What makes existing tables take the manifest's rows; they lose nothing by it. */
  alterations: Alterations;
  /** What existing enums lack. */
  labels: readonly NewLabel[];
  /** All of its tables are recorded as Waypost's. */
  isOurs?: boolean;
}

/** A mirror that takes the manifest's rows as it is. */
interface Described {
  fingerprint: string;
  /** Of the shape, what was looked for. */
  names: string;
  mirror: Mirror;
}

/** Compares the device's tables with a manifest, and says what is to be altered. */
@Injectable()
export class MirrorInspector {
  private described: Described | undefined;

  constructor(
    @Inject(LOAD_OPTIONS) private readonly options: LoadOptions,
    private readonly owned: OwnedTables,
  ) {}

  /**
   * Call it in a transaction, which it leaves with search_path at pg_catalog.
   * @param held the manifest that the device holds: what it had is Waypost's
   * @param fingerprint of a proof that was read before: what is found is remembered with it
   * @throws WaypostError SCHEMA_MISMATCH that names every difference which does not remove itself, and what removes it
   */
  async inspect(client: pg.ClientBase, shape: MirrorShape, held: Manifest | undefined, fingerprint?: string): Promise<Mirror> {
    this.described = undefined;
    const mirror = await this.describe(client, shape, held);
    const isAsWanted =
      mirror.tables.size === shape.tables.length && mirror.labels.length === 0 && !this.differs(shape, held, mirror.tables);
    if (isAsWanted && fingerprint !== undefined) this.described = { fingerprint, names: namesOf(shape), mirror };
    return mirror;
  }

  /** The mirror as it was described last, where a proof says that nothing of it was altered since, and it takes the rows of this manifest, too. */
  recall(shape: MirrorShape, held: Manifest | undefined, fingerprint: string): Mirror | undefined {
    const { described } = this;
    if (described?.fingerprint !== fingerprint || described.names !== namesOf(shape)) return undefined;
    return this.differs(shape, held, described.mirror.tables) ? undefined : described.mirror;
  }

  forget(): void {
    this.described = undefined;
  }

  private async describe(client: pg.ClientBase, shape: MirrorShape, held: Manifest | undefined): Promise<Mirror> {
    const described = await describeTables(
      client,
      shape.tables.map(({ name }) => parseTableName(name)),
    );
    const existing = shape.tables.flatMap((table) => {
      const local = described.get(quoteTable(parseTableName(table.name)));
      return local ? [[table.name, local] as const] : [];
    });
    const tables = new Map(existing);
    const { alterations, obstacles } = await this.planTables(client, shape, held, tables);
    const types = await planLabels(client, this.options.schemaMode, await checkTypes(client, shape.types));
    const all = [...obstacles, ...types.obstacles];
    if (all.length > 0) throw mismatch(all, { isManual: this.options.schemaMode === 'manual', concernsTypes: types.obstacles.length > 0 });
    return { tables, references: await findReferences(client, tables), alterations, labels: types.labels };
  }

  private async planTables(
    client: pg.ClientBase,
    shape: MirrorShape,
    held: Manifest | undefined,
    locals: ReadonlyMap<string, CatalogTable>,
  ) {
    // Who made a table counts only where something differs.
    if (!this.differs(shape, held, locals)) return { alterations: new Map(), obstacles: [] };
    const created = await this.owned.findCreated(client, locals);
    return planChanges(
      client,
      this.options.schemaMode,
      differencesOf(shape, held, locals, (name) => created.has(name)),
      locals,
    );
  }

  /** Whether a table differs by the rules for those that Waypost created, which are the strictest. */
  private differs(shape: MirrorShape, held: Manifest | undefined, locals: Mirror['tables']): boolean {
    return differencesOf(shape, held, locals, () => true).length > 0;
  }
}

function differencesOf(
  { tables }: MirrorShape,
  held: Manifest | undefined,
  locals: Mirror['tables'],
  isCreated: (name: string) => boolean,
): Difference[] {
  const before = new Map(held?.tables.map((table) => [quoteTable(parseTableName(table.name)), table]));
  return tables.flatMap((table) => {
    const local = locals.get(table.name);
    if (!local) return [];
    return compareColumns(table, local, { isCreated: isCreated(table.name), held: before.get(quoteTable(local)) });
  });
}

function namesOf({ tables, types }: MirrorShape): string {
  return JSON.stringify([tables.map(({ name }) => name), types]);
}

function mismatch(obstacles: readonly string[], { isManual, concernsTypes }: { isManual: boolean; concernsTypes: boolean }): WaypostError {
  return new WaypostError('SCHEMA_MISMATCH', {
    detail: `${obstacles.join('; ')}.`,
    hint: [
      'The device keeps the data that it has. Run what the detail says as the owner of the tables: the next cycle goes on.',
      ...(isManual ? ['With SCHEMA_MODE=managed changes that lose nothing are made by themselves.'] : []),
      ...(concernsTypes ? ['Alter the type as the detail says: it stays when its tables are dropped.'] : []),
      'A table that Waypost created can be dropped, too: it is created again, with its rows.',
    ].join(' '),
  });
}

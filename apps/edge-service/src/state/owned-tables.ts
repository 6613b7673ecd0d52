import { Inject, Injectable } from '@nestjs/common';
import { type ManifestTable, parseTableName, quoteTable, WaypostError } from '@waypost/contracts';
import { queryOn, type CatalogTable } from '@waypost/runtime';
import type pg from 'pg';
import { Database } from '../database/database.js';
import { FIND_LEFT, FIND_NESTED, FIND_OWNED, findEmpty, FORGET_LEFT, lockAgainstWriters } from './owned-tables.sql.js';
import { type OwnedTable, type Ownership, recordOwnership } from './record-ownership.js';
import { STATE_OPTIONS, type StateOptions } from './state-options.js';

/** A row of FIND_OWNED. */
interface OwnedRow {
  relation: string;
  oid: string | null;
  database: string;
  how: Ownership;
}

/** A row of FIND_LEFT: a table that left the plan, with what it held then. */
interface LeftRow {
  relation: string;
  oid: string;
  how: Ownership;
  contents: ManifestTable;
}

/** A local table, by the manifest's name. */
interface Local {
  name: string;
  relation: string;
  oid: number;
  catalog: CatalogTable;
}

/** Whether a table holds exactly what a manifest said of it. */
export type Proof = (client: pg.ClientBase, contents: ManifestTable, local: CatalogTable) => Promise<boolean>;

/**
 * Which of the device's tables Waypost may write to: those that it created, that were empty when it first met them, or that their owner handed over.
 * One that left the plan and holds, when it comes back, exactly what it held then, is Waypost's again.
 * A table is known by name and oid: one that was dropped and made again in the same database, with rows, is not Waypost's. In another database
 * (a restored dump) oids say nothing, and the name decides.
 */
@Injectable()
export class OwnedTables {
  constructor(
    @Inject(STATE_OPTIONS) private readonly options: StateOptions,
    private readonly database: Database,
  ) {}

  /**
   * Refuses tables that are not Waypost's. Call it in a transaction; nothing is written.
   * @param locals the manifest's tables that exist here, by the manifest's names
   * @param prove reads tables that left the plan and came back
   * @returns whether all of them are recorded as Waypost's: nothing is left to claim
   * @throws WaypostError TABLE_NOT_OURS that names all of them; SCHEMA_MISMATCH when one is a part of another
   */
  async check(client: pg.ClientBase, locals: ReadonlyMap<string, CatalogTable>, prove: Proof): Promise<boolean> {
    await this.refuseNested(client, locals);
    const { unknown, claims } = await this.sort(client, locals);
    await this.refuseFilled(client, unknown, prove);
    return unknown.length + claims.length === 0;
  }

  /**
   * As `check`, and records, in the current transaction, what is Waypost's from now on. Writers stay out of tables that it meets for the first time.
   * @param created names of the tables that this transaction made
   * @returns names of tables that left the plan and came back with what they held
   */
  async claim(
    client: pg.ClientBase,
    locals: ReadonlyMap<string, CatalogTable>,
    created: ReadonlySet<string>,
    prove: Proof,
  ): Promise<string[]> {
    const { unknown, claims } = await this.sort(client, locals);
    const met = unknown.filter(({ name }) => !created.has(name));
    if (met.length > 0) await client.query(lockAgainstWriters(met.map(({ relation }) => relation)));
    const returned = await this.refuseFilled(client, met, prove);
    const howOf = ({ name }: Local): Ownership => (created.has(name) ? 'created' : (returned.get(name) ?? 'empty'));
    claims.push(...unknown.map((local): OwnedTable => ({ ...local, how: howOf(local) })));
    if (claims.length === 0) return [];
    await recordOwnership(client, claims, this.database.identity.identity);
    await client.query(FORGET_LEFT, [claims.map(({ relation }) => relation)]);
    return [...returned.keys()];
  }

  /** @returns the names of those that Waypost created */
  async findCreated(client: pg.ClientBase, locals: ReadonlyMap<string, CatalogTable>): Promise<Set<string>> {
    const { created } = await this.sort(client, locals);
    return created;
  }

  /** Tables without a recorded owner, those that are Waypost's without a record that is up to date, and the names of those that it created. */
  private async sort(
    client: pg.ClientBase,
    locals: ReadonlyMap<string, CatalogTable>,
  ): Promise<{ unknown: Local[]; claims: OwnedTable[]; created: Set<string> }> {
    const tables = [...locals].map(([name, catalog]): Local => ({
      name,
      oid: catalog.oid,
      relation: quoteTable(parseTableName(name)),
      catalog,
    }));
    const rows = await queryOn(client)<OwnedRow>(FIND_OWNED, [tables.map(({ relation }) => relation)]);
    const known = new Map(rows.map((row) => [row.relation, row]));
    const { identity } = this.database.identity;
    const unknown: Local[] = [];
    const claims: OwnedTable[] = [];
    const created = new Set<string>();
    for (const table of tables) {
      const row = known.get(table.relation);
      const isHere = row?.database === identity && row.oid !== null;
      const isSame = isHere && Number(row.oid) === table.oid;
      if (row?.how === 'created' && (isSame || !isHere)) created.add(table.name);
      if (isSame) continue;
      if (row && !isHere) claims.push({ ...table, how: row.how });
      else if (this.isAdopted(table.relation)) claims.push({ ...table, how: 'adopted' });
      else unknown.push(table);
    }
    return { unknown, claims, created };
  }

  private isAdopted(relation: string): boolean {
    const { adoptTables } = this.options;
    return adoptTables === '*' || adoptTables.has(relation);
  }

  /** @returns of those that have rows, how each one that is proven to hold what Waypost put there had become its own */
  private async refuseFilled(client: pg.ClientBase, tables: readonly Local[], prove: Proof): Promise<Map<string, Ownership>> {
    if (tables.length === 0) return new Map();
    // A policy that hides rows must not make a table look empty.
    await client.query('SET LOCAL row_security = off');
    const rows = await queryOn(client)<{ position: number; empty: boolean }>(findEmpty(tables.map(({ relation }) => relation)));
    const filled = rows.filter(({ empty }) => !empty).map(({ position }) => tables[position]!);
    const returned = await this.findReturned(client, filled, prove);
    const others = filled.filter(({ name }) => !returned.has(name));
    if (others.length > 0) throw notOurs(others);
    return returned;
  }

  private async findReturned(client: pg.ClientBase, filled: readonly Local[], prove: Proof): Promise<Map<string, Ownership>> {
    const relations = filled.map(({ relation }) => relation);
    const left = filled.length === 0 ? [] : await queryOn(client)<LeftRow>(FIND_LEFT, [relations, this.database.identity.identity]);
    const returned = new Map<string, Ownership>();
    for (const { name, relation, oid, catalog } of filled) {
      const row = left.find((candidate) => candidate.relation === relation && Number(candidate.oid) === oid);
      if (row && (await prove(client, row.contents, catalog))) returned.set(name, row.how);
    }
    return returned;
  }

  private async refuseNested(client: pg.ClientBase, locals: ReadonlyMap<string, CatalogTable>): Promise<void> {
    const named = [...locals];
    if (!named.some(([, { kind, hasHeirs }]) => kind === 'partitioned' || hasHeirs)) return;
    const names = new Map(named.map(([name, { oid }]) => [oid, name]));
    const rows = await queryOn(client)<{ part: string; ancestor: string }>(FIND_NESTED, [[...names.keys()]]);
    if (rows.length === 0) return;
    const pairs = rows.map(({ part, ancestor }) => `${names.get(Number(part))} is a part of ${names.get(Number(ancestor))} here`);
    throw new WaypostError('SCHEMA_MISMATCH', {
      detail: `${pairs.join('; ')}, and the manifest names both.`,
      hint: 'Make them separate tables on the device, or leave one of them out of the plan.',
    });
  }
}

function notOurs(tables: readonly Local[]): WaypostError {
  const names = tables.map(({ name }) => name);
  const quoted = names.map((name) => (/^[\w.]+$/.test(name) ? name : `'${name.replaceAll("'", `'\\''`)}'`)).join(' ');
  return new WaypostError('TABLE_NOT_OURS', {
    detail: `${names.length === 1 ? 'A table of' : 'Tables of'} the manifest hold${names.length === 1 ? 's' : ''} rows that Waypost did not put there: ${names.join(', ')}.`,
    hint: `Nothing was changed. If central’s rows are to replace those of the device, hand the tables over: waypost adopt ${quoted} (or ADOPT_TABLES of edge-service). If not, rename them, or leave them out of the plan.`,
  });
}

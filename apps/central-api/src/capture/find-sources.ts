import { quoteTable, WaypostError } from '@waypost/contracts';
import { describeTables, pinSession, TypeCatalog, typesOf } from '@waypost/runtime';
import pg from 'pg';
import type { CheckedPlan } from '../plan/check-plan.js';
import { canonicalTableQuery, castParameter, keyedSource, resolveTable } from '../plan/resolve-table.js';
import { findKeyed, type KeyedTable, type UnkeyedTable } from './keyed-tables.js';
import { asView } from '../plan/read-relations.js';
import { foldedLiterals } from '../plan/moving-literals.js';
import { renderParameters } from '../plan/sql-parameters.js';
import type { TableRef } from '@waypost/runtime';
import { READ_DEFINITION, READ_FOREIGN_APPLIERS, READ_FUNCTIONS, READ_RELATIONS, READ_TYPES, READ_VOLATILE } from './sources.sql.js';

interface Relation extends TableRef {
  /** pg_class.relkind. */
  kind: string;
  /** pg_class.relpersistence. */
  persistence: string;
  schema: string;
  isSubscribed: boolean;
}

/** What the plan's queries read. */
export interface Sources {
  /** Tables whose triggers tell of changes, partitions and inheriting tables included; by name. */
  tables: TableRef[];
  /** Oids of those among them that the query of each of the plan's tables reads, by the table's name. */
  tablesOf: Map<string, string[]>;
  /** Whether changed rows of the plan's tables can be told from captured keys, by the table's name. */
  keyed: Map<string, KeyedTable | UnkeyedTable>;
  /** Oids of all that takes part, views included. */
  relations: string[];
  /** Oids of functions that are not PostgreSQL's own. */
  functions: string[];
  /** Oids of the user-defined types that the rows are made of. */
  types: string[];
  /** Why a change could pass unnoticed: what names the query, and the reason. Nothing may be called unchanged then. */
  blockers: string[];
  /** False where a query could not be looked into. */
  isComplete: boolean;
}

/**
 * Finds what the scope query and the queries of all tables read, from the catalog: PostgreSQL itself lists what a view depends on. The views are
 * temporary and rolled back. Call it in a READ WRITE transaction.
 */
export async function findSources(client: pg.ClientBase, plan: CheckedPlan): Promise<Sources> {
  const relations = new Map<string, Relation>();
  const tablesOf = new Map<string, string[]>();
  const keyed: Sources['keyed'] = new Map();
  const functions = new Set<string>();
  const blockers: string[] = [];
  let isComplete = true;
  for (const { name, query, read } of await queriesOf(client, plan)) {
    const found = await asView(client, query, (view) => look(client, { view, query, read })).catch((error: unknown) => {
      if (!(error instanceof pg.DatabaseError)) throw error;
      return `${name} makes no temporary view: ${error.message}`;
    });
    if (typeof found === 'string') {
      blockers.push(found);
      isComplete = false;
      continue;
    }
    tablesOf.set(
      name,
      found.relations.filter(isTable).map(({ oid }) => oid),
    );
    if (found.keyed) keyed.set(name, found.keyed);
    for (const oid of found.functions) functions.add(oid);
    for (const relation of found.relations) {
      relations.set(relation.oid, relation);
      const reason = whyUnnoticed(relation);
      if (reason !== undefined) blockers.push(`${name} reads ${relation.name}, ${reason}`);
    }
    for (const what of found.volatile) blockers.push(`${name} uses ${what}, whose result changes by itself`);
  }
  const all = [...relations.values()];
  const oids = all.map(({ oid }) => oid);
  const { rows: types } = await client.query<{ oid: string }>(READ_TYPES, [oids]);
  const { rows: appliers } = await client.query<{ name: string }>(READ_FOREIGN_APPLIERS);
  for (const { name } of appliers) blockers.push(`${name} may write rows, and fires no statement triggers`);
  return {
    tables: all.filter(isTable).map(({ oid, name }) => ({ oid, name })),
    tablesOf,
    keyed,
    relations: oids,
    functions: [...functions],
    types: types.map(({ oid }) => oid),
    blockers,
    isComplete,
  };
}

function isTable({ kind }: Relation): boolean {
  return kind === 'r' || kind === 'p';
}

/** The table that a query is of; none for the scope query. */
type TableRead = Pick<Parameters<typeof findKeyed>[1], 'table' | 'source'>;

interface Look {
  relations: Relation[];
  functions: string[];
  volatile: string[];
  keyed: KeyedTable | UnkeyedTable | undefined;
}

async function look(
  client: pg.ClientBase,
  { view, query, read }: { view: string; query: string; read: TableRead | undefined },
): Promise<Look> {
  const { rows: relations } = await client.query<Relation>(READ_RELATIONS, [view]);
  const views = relations.filter(({ kind }) => kind === 'v').map(({ oid }) => oid);
  const { rows } = await client.query<{ what: string }>(READ_VOLATILE, [view, views]);
  const { rows: functions } = await client.query<{ oid: string }>(READ_FUNCTIONS, [view, views]);
  const { rows: stored } = await client.query<{ text: string }>(READ_DEFINITION, [view]);
  const folded = foldedLiterals(query, stored[0]?.text ?? '').map((literal) => `the literal ${literal}`);
  const volatile = [...rows.map(({ what }) => what), ...folded];
  const keyed = read && (await findKeyed(client, { view, views, ...read }));
  return { relations, functions: functions.map(({ oid }) => oid), volatile, keyed };
}

function whyUnnoticed({ kind, persistence, schema, isSubscribed }: Relation): string | undefined {
  if (persistence === 'u') return 'an unlogged table: a crash of the server empties it, and fires no trigger';
  if (persistence === 't' && kind !== 'v') return 'a temporary table';
  if (kind === 'm') return 'a materialized view: REFRESH fires no trigger';
  if (kind === 'f') return 'a foreign table: others change its rows';
  if (kind === 'S') return 'a sequence: nextval fires no trigger';
  if (schema === 'pg_catalog' || schema === 'information_schema') return 'a table of PostgreSQL’s own: it has no triggers';
  if (isSubscribed) return 'which a subscription fills: logical replication fires no statement triggers';
  return undefined;
}

async function queriesOf(client: pg.ClientBase, plan: CheckedPlan): Promise<{ name: string; query: string; read?: TableRead }[]> {
  const described = await describeTables(
    client,
    plan.tables.map((table) => table.identifier),
  );
  const types = await TypeCatalog.read(client, typesOf(described.values()));
  await pinSession(client);
  const tables = plan.tables.map((table) => {
    const actual = described.get(quoteTable(table.identifier));
    const { resolved } = resolveTable(table, actual, types);
    if (!actual || !resolved)
      throw new WaypostError('PLAN_INVALID', { detail: `The database was altered: ${table.name} does not fit the plan any more.` });
    const layout = { ...resolved, format: types.formatFor(typesOf([resolved])) };
    const render = (name: string): string => castParameter('NULL', plan.scopeTypes.get(name) as string);
    return {
      name: table.name,
      query: canonicalTableQuery(table, layout, render),
      read: { table: actual, source: keyedSource(table, layout, render) },
    };
  });
  return [{ name: 'the scope query', query: renderParameters(plan.file.plan.scope.query, () => 'NULL') }, ...tables];
}

import { parseColumnName, parseTableName, type PlanTable, quoteTable, type TableIdentifier, WaypostError } from '@waypost/contracts';
import { type CatalogTable, describeTables, pinSession, TypeCatalog, typesOf, withClient, withTransaction } from '@waypost/runtime';
import pg from 'pg';
import { canonicalTableQuery, castParameter, type ResolvedTable, resolveTable } from './resolve-table.js';
import { findRelations, type MaterializedRead } from './read-relations.js';
import { type PlanFile, planInvalid, type PlanPath } from './read-plan.js';
import { lineAt, parameterLines, parametersOf, renderParameters } from './sql-parameters.js';

/** A plan table with its names read as SQL reads them. */
export interface CheckedTable {
  name: string;
  identifier: TableIdentifier;
  columns: string[] | undefined;
  key: string[] | undefined;
  where: string | undefined;
  onReferenced: PlanTable['onReferenced'];
  maxShrink: PlanTable['maxShrink'];
  /** Whether devices get its secondary indexes. */
  indexes: 'mirror' | 'none';
  /** The scope's columns that `where` uses. */
  parameters: string[];
}

/** A plan that fits the database: every table, column, key, parameter and SQL expression was tried. */
export interface CheckedPlan {
  file: PlanFile;
  schemaVersion: number;
  /** The scope query with `$1` for the MAC address. */
  scopeQuery: string;
  /** Types of the scope's columns, as SQL writes them. */
  scopeTypes: ReadonlyMap<string, string>;
  tables: CheckedTable[];
  /** Quoted names of the tables and views that the scope query and all tables' queries read. */
  reads: string[];
  /** Those among them that the scope query reads. */
  scopeReads: string[];
  /** Materialized views that they read. */
  materialized: MaterializedRead[];
}

export const CHECKED_PLAN = Symbol('checked plan');

/**
 * Checks a plan against the live catalog.
 * @throws WaypostError PLAN_INVALID with file and line of every fault found
 */
export async function checkPlan(pool: pg.Pool, file: PlanFile): Promise<CheckedPlan> {
  const faults: string[] = [];
  const names = file.plan.tables.map((table, index) => readNames(table, ['tables', index], file, faults));
  if (faults.length > 0) throw planInvalid(faults);
  const tables = names as CheckedTable[];

  return withClient(pool, async (client) => {
    const queries: { place: PlanPath; text: string }[] = [];
    const lockable: string[] = [];
    const checked = await withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
      const described = await describeTables(
        client,
        tables.map((table) => table.identifier),
      );
      const types = await TypeCatalog.read(client, typesOf(described.values()));
      const scopeTypes = await checkScope(client, file, faults);
      if (!scopeTypes) throw planInvalid(faults);
      await pinSession(client);
      for (const [index, table] of tables.entries()) {
        const place: PlanPath = ['tables', index];
        const actual = described.get(quoteTable(table.identifier));
        const resolved = resolveFaultless(table, actual, types, { place, file, faults });
        const query = resolved && (await checkWhere(client, table, resolved, { place, file, faults, scopeTypes }));
        if (query !== undefined) queries.push({ place, text: query });
        if (actual && actual.kind !== 'materialized view') lockable.push(quoteTable(table.identifier));
      }
      checkDuplicates(tables, file, faults);
      if (faults.length > 0) throw planInvalid(faults);
      const scopeQuery = renderParameters(file.plan.scope.query, () => '$1');
      return { file, schemaVersion: file.plan.schemaVersion, scopeQuery, scopeTypes, tables };
    });
    queries.push({ place: ['scope', 'query'], text: renderParameters(file.plan.scope.query, () => 'NULL') });
    const texts = queries.map(({ text }) => text);
    const {
      names: reads,
      unlogged,
      materialized,
    } = await withTransaction(client, 'READ WRITE', () => findRelations(client, texts, lockable));
    for (const { query, name } of unlogged) {
      const { place } = queries[query]!;
      faults.push(`${file.locate(place)}: ${name}, which this reads, is unlogged: a crash of the server would empty it, and then devices`);
    }
    if (faults.length > 0) throw planInvalid(faults);
    const scopeQuery = texts.slice(-1);
    const { names: scopeReads } = await withTransaction(client, 'READ WRITE', () => findRelations(client, scopeQuery, []));
    return { ...checked, reads, scopeReads, materialized };
  });
}

interface Place {
  place: PlanPath;
  file: PlanFile;
  faults: string[];
}

function readNames(table: PlanTable, place: PlanPath, file: PlanFile, faults: string[]): CheckedTable | undefined {
  const read = <T>(parse: (name: string) => T, name: string, ...spot: (string | number)[]): T | undefined => {
    try {
      return parse(name);
    } catch (error) {
      if (!(error instanceof WaypostError)) throw error;
      faults.push(`${file.locate([...place, ...spot])}: ${error.message}`);
      return undefined;
    }
  };
  const identifier = read(parseTableName, table.name, 'name');
  const columns = table.columns?.flatMap((name, at) => read(parseColumnName, name, 'columns', at) ?? []);
  const key = table.key?.flatMap((name, at) => read(parseColumnName, name, 'key', at) ?? []);
  const { name, where, onReferenced, maxShrink } = table;
  const indexes = table.indexes ?? file.plan.indexes ?? 'mirror';
  const parameters = where === undefined ? [] : parametersOf(where);
  return identifier && { name, identifier, columns, key, where, onReferenced, maxShrink, indexes, parameters };
}

async function checkScope(client: pg.ClientBase, file: PlanFile, faults: string[]): Promise<Map<string, string> | undefined> {
  const { query } = file.plan.scope;
  const lines = parameterLines(query);
  for (const [name, line] of lines) {
    if (name !== 'mac') faults.push(`${file.locate(['scope', 'query'], line)}: the scope query knows only :mac, not :${name}`);
  }
  if (!lines.has('mac')) faults.push(`${file.locate(['scope', 'query'])}: the scope query does not use :mac`);
  if (faults.length > 0) return undefined;
  await pinSession(client);
  const text = `SELECT * FROM (${renderParameters(query, () => '$1')}\n) AS scope LIMIT 0`;
  const result = await trySql(client, text, [null], { place: ['scope', 'query'], file, faults, source: query });
  if (!result) return undefined;
  const names = result.fields.map((field) => field.name);
  for (const name of new Set(names.filter((name, at) => names.indexOf(name) !== at))) {
    faults.push(`${file.locate(['scope', 'query'])}: the scope query gives the column "${name}" twice`);
  }
  const { rows } = await client.query<{ type: string }>(
    `SELECT format_type(t.oid, t.typmod) AS type FROM unnest($1::oid[], $2::int4[]) WITH ORDINALITY AS t(oid, typmod, position) ORDER BY position`,
    [result.fields.map((field) => field.dataTypeID), result.fields.map((field) => field.dataTypeModifier)],
  );
  return new Map(result.fields.map((field, at) => [field.name, (rows[at] as { type: string }).type]));
}

function resolveFaultless(
  table: CheckedTable,
  actual: CatalogTable | undefined,
  types: TypeCatalog,
  { place, file, faults }: Place,
): ResolvedTable | undefined {
  const { resolved, problems } = resolveTable(table, actual, types);
  for (const { member, index, message } of problems) {
    const spot = [...place, member, ...(index === undefined ? [] : [index])];
    faults.push(`${file.locate(spot)}: ${message}`);
  }
  return resolved;
}

/** @returns the table's query with NULL for each parameter */
async function checkWhere(
  client: pg.ClientBase,
  table: CheckedTable,
  resolved: ResolvedTable,
  context: Place & { scopeTypes: ReadonlyMap<string, string> },
): Promise<string | undefined> {
  const { place, file, faults, scopeTypes } = context;
  const unknown = [...parameterLines(table.where ?? '')].filter(([name]) => !scopeTypes.has(name));
  for (const [name, line] of unknown) {
    faults.push(
      `${file.locate([...place, 'where'], line)}: the scope gives no column "${name}" for :${name} (it gives ${[...scopeTypes.keys()].join(', ')})`,
    );
  }
  if (unknown.length > 0) return undefined;
  const layout = { ...resolved, format: 'binary' as const };
  const query = canonicalTableQuery(table, layout, (name) => castParameter('NULL', scopeTypes.get(name) as string));
  await trySql(client, `EXPLAIN ${query}`, [], { place: [...place, 'where'], file, faults, source: table.where ?? '' });
  return query;
}

function checkDuplicates(tables: CheckedTable[], file: PlanFile, faults: string[]): void {
  const seen = new Set<string>();
  for (const [index, table] of tables.entries()) {
    const quoted = quoteTable(table.identifier);
    if (seen.has(quoted)) faults.push(`${file.locate(['tables', index, 'name'])}: table ${table.name} is named twice`);
    seen.add(quoted);
  }
}

/** Runs one statement by the extended protocol, which takes no second one, and turns PostgreSQL's complaint into a line of the plan. */
async function trySql(
  client: pg.ClientBase,
  text: string,
  values: null[],
  { place, file, faults, source }: Place & { source: string },
): Promise<pg.QueryResult | undefined> {
  await client.query('SAVEPOINT attempt');
  try {
    const result = await client.query({ text, values, queryMode: 'extended' } as pg.QueryConfig);
    await client.query('RELEASE attempt');
    return result;
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    await client.query('ROLLBACK TO attempt');
    // PostgreSQL counts characters from 1, JavaScript UTF-16 units from 0.
    const line = error.position === undefined ? 0 : lineAt([...text].slice(0, Number(error.position) - 1).join(''), Infinity);
    // What is missing at the end, such as a bracket, is noticed only in the SQL that follows.
    const lastLine = lineAt(source.trimEnd(), Infinity);
    const message = error.message.split('\n')[0];
    faults.push(`${file.locate(place, Math.min(line, lastLine))}: ${message}${error.hint ? ` (${error.hint})` : ''}`);
    return undefined;
  }
}

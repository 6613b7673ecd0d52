import { quoteTable } from '@waypost/contracts';
import { describeTables, pinSession, SqlState, sqlStateOf, TypeCatalog, typesOf, withClient, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import type { CheckedPlan, CheckedTable } from './check-plan.js';
import { findKeyFaults, type KeyFaults } from './find-key-faults.js';
import { chooseIndexes, type IndexChoice } from './source-indexes.js';
import { canonicalTableQuery, type ResolvedTable, resolveTable } from './resolve-table.js';

/** What PostgreSQL's planner says of one table's query, for any device. */
export interface TableExplanation {
  name: string;
  columns: number;
  key: string[];
  /** False where no unique index guards the key, so that each snapshot looks whether it identifies the rows, at the price of reading them twice. */
  keyIsProven: boolean;
  /** What speaks against the key as the rows are now; null where it is proven. */
  keyCheck: KeyCheck | null;
  parameters: string[];
  /** The planner's estimate of one device's rows. */
  estimatedRows: number;
  /** Those of `reads` that have no statistics, so that the estimate is a guess. */
  neverAnalyzed: string[];
  /** False where no index can give the order, so that the rows are sorted for each snapshot. */
  orderedByIndex: boolean;
  /** Names of the secondary indexes that devices get, and why they do not get others; null where the plan wants none. */
  indexes: { mirrored: string[]; leftOut: IndexChoice['leftOut'] } | null;
  /** Every table that the query reads, also those that it only joins. */
  reads: string[];
}

/** `isCertain`: these are the rows of every device. Otherwise they are those of all devices together, and each may have fewer. */
type KeyCheck = (KeyFaults & { isCertain: boolean }) | 'timedOut';

/** $1: tables as `reads` names them. */
const FIND_NEVER_ANALYZED = `
  SELECT n.nspname || '.' || c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.reltuples < 0 AND n.nspname || '.' || c.relname = ANY($1::text[]) ORDER BY 1`;

/** For counting the keys of a table that no index guards. */
const KEY_CHECK_TIMEOUT_MS = 60_000;

interface PlanNode {
  'Node Type': string;
  'Plan Rows': number;
  Schema?: string;
  'Relation Name'?: string;
  Plans?: PlanNode[];
}

/** Asks the planner about each table of a checked plan. Only tables whose keys nothing proves are read, each for a minute at most. */
export async function explainPlan(pool: pg.Pool, plan: CheckedPlan): Promise<TableExplanation[]> {
  return withClient(pool, (client) =>
    withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
      const described = await describeTables(
        client,
        plan.tables.map((table) => table.identifier),
      );
      const types = await TypeCatalog.read(client, typesOf(described.values()));
      const tables = plan.tables.flatMap((table) => {
        const actual = described.get(quoteTable(table.identifier));
        const { resolved } = resolveTable(table, actual, types);
        return resolved ? [{ table, actual, resolved }] : [];
      });
      const choices = await chooseIndexes(client, tables);
      await pinSession(client);
      // A plan for any parameters: what holds for every device, not for one.
      await client.query('SET LOCAL plan_cache_mode = force_generic_plan');
      // Small tables are sorted although an index could give the order: what counts is whether one could.
      await client.query('SET LOCAL enable_sort = off');
      await client.query('SET LOCAL enable_incremental_sort = off');
      const explanations: TableExplanation[] = [];
      for (const [at, { table, resolved }] of tables.entries()) {
        const explained = await explainTable(client, plan, table, resolved);
        const keyCheck = resolved.keyIsProven ? null : await checkKeyNow(client, table, resolved);
        explanations.push({ ...explained, keyCheck, indexes: table.indexes === 'none' ? null : namesOf(choices[at]!) });
      }
      return explanations;
    }),
  );
}

async function explainTable(
  client: pg.ClientBase,
  plan: CheckedPlan,
  table: CheckedTable,
  resolved: ResolvedTable,
): Promise<Omit<TableExplanation, 'keyCheck' | 'indexes'>> {
  const types = table.parameters.map((name) => plan.scopeTypes.get(name) as string);
  const query = canonicalTableQuery(table, { ...resolved, format: 'binary' }, (name) => `$${table.parameters.indexOf(name) + 1}`);
  await client.query(`PREPARE waypost_explain${types.length > 0 ? ` (${types.join(', ')})` : ''} AS ${query}`);
  const values = types.length > 0 ? `(${types.map(() => 'NULL').join(', ')})` : '';
  const { rows } = await client.query<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>(
    `EXPLAIN (VERBOSE, FORMAT JSON) EXECUTE waypost_explain${values}`,
  );
  await client.query('DEALLOCATE waypost_explain');
  const top = (rows[0] as { 'QUERY PLAN': [{ Plan: PlanNode }] })['QUERY PLAN'][0].Plan;
  const names = [...walk(top)].flatMap((node) => (node['Relation Name'] ? [`${node.Schema}.${node['Relation Name']}`] : []));
  const reads = [...new Set(names)].sort();
  const { rows: unknown } = await client.query<{ name: string }>(FIND_NEVER_ANALYZED, [reads]);
  return {
    name: table.name,
    columns: resolved.columns.length,
    key: resolved.key,
    keyIsProven: resolved.keyIsProven,
    parameters: table.parameters,
    estimatedRows: top['Plan Rows'],
    neverAnalyzed: unknown.map(({ name }) => name),
    orderedByIndex: !sorts(top),
    reads,
  };
}

function namesOf({ mirrored, leftOut }: IndexChoice): TableExplanation['indexes'] {
  return { mirrored: mirrored.map(({ name }) => name), leftOut };
}

async function checkKeyNow(client: pg.ClientBase, table: CheckedTable, resolved: ResolvedTable): Promise<KeyCheck> {
  const isCertain = table.parameters.length === 0;
  const rows = isCertain ? table : { ...table, where: undefined };
  const query = canonicalTableQuery(rows, { ...resolved, format: 'binary' }, (name) => name);
  await client.query(`SAVEPOINT key_check; SET LOCAL statement_timeout = ${KEY_CHECK_TIMEOUT_MS}`);
  try {
    return { ...(await findKeyFaults(client, query, resolved)), isCertain };
  } catch (error) {
    if (sqlStateOf(error) !== SqlState.queryCanceled) throw error;
    return 'timedOut';
  } finally {
    await client.query('ROLLBACK TO key_check');
  }
}

/** Whether a request of any device would be refused. */
export function failsForAll({ keyCheck }: TableExplanation): boolean {
  return keyCheck !== null && keyCheck !== 'timedOut' && keyCheck.isCertain && keyCheck.incomplete + keyCheck.repeated > 0;
}

function* walk(node: PlanNode): Generator<PlanNode> {
  yield node;
  for (const child of node.Plans ?? []) yield* walk(child);
}

/** Whether the result is sorted at the end: a sort further down serves a join, not the order. */
function sorts(node: PlanNode): boolean {
  if (/Sort$/.test(node['Node Type'])) return true;
  const [only, other] = node.Plans ?? [];
  return only !== undefined && other === undefined && sorts(only);
}

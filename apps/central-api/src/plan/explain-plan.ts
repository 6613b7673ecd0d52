import { quoteTable } from '@waypost/contracts';
import { describeTables, pinSession, TypeCatalog, typesOf, withClient, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import type { CheckedPlan, CheckedTable } from './check-plan.js';
import { canonicalTableQuery, type ResolvedTable, resolveTable } from './resolve-table.js';

/** What PostgreSQL's planner says of one table's query, for any device. */
export interface TableExplanation {
  name: string;
  columns: number;
  key: string[];
  /** False where no unique index guards the key, so that each snapshot looks whether it identifies the rows, at the price of reading them twice. */
  keyIsProven: boolean;
  parameters: string[];
  /** The planner's estimate of one device's rows. */
  estimatedRows: number;
  /** False where no index can give the order, so that the rows are sorted for each snapshot. */
  orderedByIndex: boolean;
  /** Every table that the query reads, also those that it only joins. */
  reads: string[];
}

interface PlanNode {
  'Node Type': string;
  'Plan Rows': number;
  Schema?: string;
  'Relation Name'?: string;
  Plans?: PlanNode[];
}

/** Asks the planner about each table of a checked plan. Nothing is read but statistics. */
export async function explainPlan(pool: pg.Pool, plan: CheckedPlan): Promise<TableExplanation[]> {
  return withClient(pool, (client) =>
    withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
      const described = await describeTables(
        client,
        plan.tables.map((table) => table.identifier),
      );
      const types = await TypeCatalog.read(client, typesOf(described.values()));
      await pinSession(client);
      // A plan for any parameters: what holds for every device, not for one.
      await client.query('SET LOCAL plan_cache_mode = force_generic_plan');
      // Small tables are sorted although an index could give the order: what counts is whether one could.
      await client.query('SET LOCAL enable_sort = off');
      await client.query('SET LOCAL enable_incremental_sort = off');
      const explanations: TableExplanation[] = [];
      for (const table of plan.tables) {
        const { resolved } = resolveTable(table, described.get(quoteTable(table.identifier)), types);
        if (resolved) explanations.push(await explainTable(client, plan, table, resolved));
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
): Promise<TableExplanation> {
  const types = table.parameters.map((name) => plan.scopeTypes.get(name) as string);
  const query = canonicalTableQuery(table, { ...resolved, format: 'binary' }, (name) => `$${table.parameters.indexOf(name) + 1}`);
  await client.query(`PREPARE waypost_explain${types.length > 0 ? ` (${types.join(', ')})` : ''} AS ${query}`);
  const values = types.length > 0 ? `(${types.map(() => 'NULL').join(', ')})` : '';
  const { rows } = await client.query<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>(
    `EXPLAIN (VERBOSE, FORMAT JSON) EXECUTE waypost_explain${values}`,
  );
  await client.query('DEALLOCATE waypost_explain');
  const top = (rows[0] as { 'QUERY PLAN': [{ Plan: PlanNode }] })['QUERY PLAN'][0].Plan;
  const nodes = [...walk(top)];
  return {
    name: table.name,
    columns: resolved.columns.length,
    key: resolved.key,
    keyIsProven: resolved.keyIsProven,
    parameters: table.parameters,
    estimatedRows: top['Plan Rows'],
    orderedByIndex: !sorts(top),
    reads: [...new Set(nodes.flatMap((node) => (node['Relation Name'] ? [`${node.Schema}.${node['Relation Name']}`] : [])))].sort(),
  };
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

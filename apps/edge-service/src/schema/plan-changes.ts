import { parseTableName } from '@waypost/contracts';
import { queryOn, type CatalogTable } from '@waypost/runtime';
import type pg from 'pg';
import type { Alteration } from './alteration.js';
import type { Difference } from './compare-columns.js';
import { FIND_DEPENDENTS, FIND_OWNERS, FIND_TYPE_OWNERS } from './schema.sql.js';
import { addLabelStatement, type NewLabel, type TypeDifference } from './user-types.js';

/** `managed`: what loses nothing alters the device's tables by itself. `manual`: their owner does it. */
export type SchemaMode = 'managed' | 'manual';

/** By the manifest's name of the table. */
export type Alterations = ReadonlyMap<string, readonly Alteration[]>;

interface Plan {
  alterations: Alterations;
  /** Why the tables' owner has to act, in words, with what to run. */
  obstacles: string[];
}

interface LabelPlan {
  labels: NewLabel[];
  obstacles: string[];
}

interface Owner {
  isOurs: boolean;
  owner: string;
  role: string;
}

interface OwnerRow extends Owner {
  oid: string;
}

interface TypeOwnerRow extends Owner {
  position: string;
}

/** Why Waypost does not make a change, and what comes before it. */
interface Reason {
  why: string;
  first: string;
}

interface DependentRow {
  oid: string;
  column: string;
  what: string;
  blocksType: boolean;
}

/** Which differences Waypost removes by itself, and why not the others. Reads the catalog only where there are differences. */
export async function planChanges(
  client: pg.ClientBase,
  mode: SchemaMode,
  differences: readonly Difference[],
  locals: ReadonlyMap<string, CatalogTable>,
): Promise<Plan> {
  const obstacles: string[] = [];
  const alterations = new Map<string, Alteration[]>();
  const possible = mode === 'managed' ? differences.filter(({ alteration }) => alteration !== undefined) : [];
  const reasons = await findReasons(client, possible, locals);
  for (const difference of differences) {
    const reason = reasons.get(difference);
    if (possible.includes(difference) && reason === undefined) {
      alterations.set(difference.table, [...(alterations.get(difference.table) ?? []), difference.alteration!]);
    } else obstacles.push(describe(difference.text, difference.statements, reason));
  }
  return { alterations, obstacles };
}

/** The same of types: only labels of enums are added. */
export async function planLabels(client: pg.ClientBase, mode: SchemaMode, differences: readonly TypeDifference[]): Promise<LabelPlan> {
  if (differences.length === 0) return { labels: [], obstacles: [] };
  const names = differences.map(({ type }) => parseTableName(type));
  const rows = await queryOn(client)<TypeOwnerRow>(FIND_TYPE_OWNERS, [names.map(({ schema }) => schema), names.map(({ table }) => table)]);
  const owners = new Map(rows.map((row) => [Number(row.position) - 1, row]));
  const plan: LabelPlan = { labels: [], obstacles: [] };
  for (const [at, { text, added }] of differences.entries()) {
    const owner = owners.get(at);
    if (mode === 'managed' && added.length > 0 && owner?.isOurs) plan.labels.push(...added);
    else plan.obstacles.push(describe(text, added.map(addLabelStatement), owner && ownerReason('type', owner)));
  }
  return plan;
}

/** @returns why Waypost cannot make a change */
async function findReasons(
  client: pg.ClientBase,
  differences: readonly Difference[],
  locals: ReadonlyMap<string, CatalogTable>,
): Promise<Map<Difference, Reason>> {
  const reasons = new Map<Difference, Reason>();
  if (differences.length === 0) return reasons;
  const oidOf = ({ table }: Difference): number => locals.get(table)!.oid;
  const query = queryOn(client);
  const owners = new Map((await query<OwnerRow>(FIND_OWNERS, [differences.map(oidOf)])).map((row) => [Number(row.oid), row]));
  const columns = [differences.map(oidOf), differences.map(({ alteration }) => alteration!.column)];
  const dependents = await query<DependentRow>(FIND_DEPENDENTS, columns);
  for (const difference of differences) {
    const { kind, column } = difference.alteration!;
    const owner = ownerReason('table', owners.get(oidOf(difference))!);
    const on = dependents.filter((row) => Number(row.oid) === oidOf(difference) && row.column === column);
    const blocking = kind === 'drop' ? on : kind === 'widen' ? on.filter(({ blocksType }) => blocksType) : [];
    if (owner) reasons.set(difference, owner);
    else if (blocking[0]) reasons.set(difference, { why: `${blocking[0].what} depends on it`, first: 'drop that, then ' });
  }
  return reasons;
}

function ownerReason(what: 'table' | 'type', { isOurs, owner, role }: Owner): Reason | undefined {
  return isOurs ? undefined : { why: `the ${what} belongs to ${owner}, so that ${role} may not alter it`, first: `as ${owner} ` };
}

function describe(text: string, statements: readonly string[], reason?: Reason): string {
  const remedy = statements.length === 0 ? '' : ` (${reason?.first ?? ''}run ${statements.join('; ')})`;
  return `${text}${reason ? `, and ${reason.why}` : ''}${remedy}`;
}

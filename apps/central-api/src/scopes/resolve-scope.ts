import { canonicalJson, WaypostError } from '@waypost/contracts';
import type pg from 'pg';
import type { CheckedPlan, CheckedTable } from '../plan/check-plan.js';
import { castParameter } from '../plan/resolve-table.js';

/** What one device may see: the row of the plan's scope query, each value as PostgreSQL prints it. */
export type Scope = ReadonlyMap<string, string | null>;

/** A scope column of this name switches a device off when it is not true. */
const ACTIVE_COLUMN = 'active';
const AS_TEXT = { getTypeParser: () => (value: string | Buffer) => value.toString() };

/**
 * Asks the plan who this device is, in the current transaction, whose session must be pinned.
 * @param mac normalized
 * @throws WaypostError DEVICE_UNKNOWN, DEVICE_AMBIGUOUS, DEVICE_INACTIVE
 */
export async function resolveScope(client: pg.ClientBase, plan: CheckedPlan, mac: string): Promise<Scope> {
  const text = `SELECT * FROM (${plan.scopeQuery}\n) AS scope LIMIT 2`;
  const { rows } = await client.query<Record<string, string | null>>({ text, values: [mac], types: AS_TEXT });
  const [row, second] = rows;
  if (!row) throw new WaypostError('DEVICE_UNKNOWN', { detail: `No device has the MAC address ${mac}.` });
  if (second) throw new WaypostError('DEVICE_AMBIGUOUS', { detail: `More than one row of the scope query has the MAC address ${mac}.` });
  if (ACTIVE_COLUMN in row && row[ACTIVE_COLUMN] !== 't') {
    throw new WaypostError('DEVICE_INACTIVE', { detail: `The device ${mac} is not active.` });
  }
  return new Map(Object.entries(row));
}

/** As resolveScope, for many devices: one that may see nothing has the error in place of a scope. */
export async function resolveScopes(client: pg.ClientBase, plan: CheckedPlan, macs: readonly string[]): Promise<(Scope | WaypostError)[]> {
  const scopes: (Scope | WaypostError)[] = [];
  for (const mac of macs) {
    scopes.push(
      await resolveScope(client, plan, mac).catch((error: unknown) => {
        if (error instanceof WaypostError) return error;
        throw error;
      }),
    );
  }
  return scopes;
}

/** Names the scope group: devices with equal keys have the same rows, whatever else their scopes say. */
export function scopeKeyOf(plan: CheckedPlan, scope: Scope): string {
  const parameters = new Set(plan.tables.flatMap((table) => table.parameters));
  return canonicalJson([...parameters].map((name) => [name, scope.get(name) ?? null]));
}

/**
 * Binds the scope's values as settings of the transaction. COPY takes no parameters, settings it can read; so a value is
 * never part of any SQL text.
 */
export async function bindScope(client: pg.ClientBase, scope: Scope): Promise<void> {
  const given = [...scope].filter(([, value]) => value !== null);
  await client.query('SELECT set_config(name, value, true) FROM unnest($1::text[], $2::text[]) AS t(name, value)', [
    given.map(([name]) => settingOf(name)),
    given.map(([, value]) => value),
  ]);
}

/** The SQL expression that reads a bound parameter. */
export function readParameter(plan: CheckedPlan, scope: Scope, name: string): string {
  const value = scope.get(name) === null ? 'NULL' : `current_setting('${settingOf(name)}')`;
  return castParameter(value, plan.scopeTypes.get(name) as string);
}

/** Hex keeps any column name a valid setting name. */
function settingOf(name: string): string {
  return `waypost.p_${Buffer.from(name).toString('hex')}`;
}

/** What a table was restricted to, for the audit: the plan's expression and the values of its parameters. */
export function describeFilter(table: CheckedTable, scope: Scope): string {
  if (table.where === undefined) return 'all rows';
  const values = table.parameters.map((name) => `${name} = ${scope.get(name) ?? 'NULL'}`);
  const where = table.where.replace(/\s+/g, ' ').trim();
  return values.length > 0 ? `${where} [${values.join(', ')}]` : where;
}

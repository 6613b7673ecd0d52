import type { Random } from '../../scripts/fleet/random.js';
import { addColumn } from './history.js';
import type { RandomFleet } from './random-fleet.js';
import { insertRows, keyValue, plainValue } from './rows.js';
import { ADDED, type Column, type Table } from './tables.js';

export interface Mutation {
  kind: string;
  /** One statement or several. */
  sql: string;
  /** Locks out readers: no cycle gets on while its transaction is open. */
  isExclusive: boolean;
}

interface Context {
  fleet: RandomFleet;
  random: Random;
  /** Another for each mutation. */
  salt: number;
}

type Kind = (context: Context) => string;

/** Numbers of rows of different mutations do not meet. */
const NUMBERS = 10_000;
/** More than the keys that Waypost's triggers record of one statement. */
const BULK_ROWS = 1100;
/** Bulk insertions leave a table alone that is as large. */
const LARGE = 8000;
const LARGE_TABLES = ['users', 'group_members', 'areas'];
/** What a device's scope needs stays, or is referenced. */
const EMPTIED = ['groups', 'location_groups', 'users', 'group_members', 'areas', 'labels'];

const KINDS: Readonly<Record<string, Kind>> = {
  insert: (context) => insert(context, anyTable(context), few(context)),
  upsert: (context) => {
    const table = tableOf(context, context.random.pick(['areas', 'labels']));
    const onConflict = `(${table.key.join(', ')}) DO UPDATE SET name = 'upserted ${context.salt}'`;
    return insertRows(table, { first: 1 + context.random.below(100), count: few(context) }, onConflict);
  },
  update: (context) => {
    const table = anyTable(context);
    return `UPDATE ${table.name} SET ${assignments(table, context)} WHERE ${some(table, context, few(context))}`;
  },
  'same values': (context) => {
    const table = anyTable(context);
    return `UPDATE ${table.name} SET ${table.key[0]} = ${table.key[0]} WHERE ${some(table, context, few(context))}`;
  },
  'other bytes of equal values': (context) =>
    `UPDATE users SET score = CASE scale(score) WHEN 0 THEN score * 1.00 ELSE trim_scale(score) END WHERE ${some(tableOf(context, 'users'), context, 20)}`,
  'key change': (context) => changeKeys(context, anyTable(context)),
  'keys that move on': (context) =>
    `UPDATE areas SET floor = floor + ${1 + context.random.below(3)} WHERE ${some(tableOf(context, 'areas'), context, 5)}`,
  delete: (context) => {
    const table = tableOf(context, context.random.pick([...EMPTIED, 'devices', 'locations']));
    return `DELETE FROM ${table.name} WHERE ${some(table, context, few(context))} AND ${isFree(table)}`;
  },
  'delete and insert': (context) => {
    const table = tableOf(context, context.random.pick(EMPTIED));
    return `WITH gone AS (DELETE FROM ${table.name} WHERE ${some(table, context, few(context))} RETURNING *) INSERT INTO ${table.name} SELECT * FROM gone`;
  },
  'device moves': (context) =>
    `UPDATE devices SET location_id = ${another('locations', context)} WHERE mac = '${context.random.pick(context.fleet.macs)}'`,
  'users change groups': (context) =>
    `UPDATE group_members SET group_id = ${another('groups', context)} WHERE ${some(tableOf(context, 'group_members'), context, few(context))}`,
  'groups change locations': (context) =>
    `UPDATE location_groups SET location_id = ${another('locations', context)} WHERE ${some(tableOf(context, 'location_groups'), context, 1)}`,
  'areas change locations': (context) =>
    `UPDATE areas SET location_id = ${another('locations', context)} WHERE ${some(tableOf(context, 'areas'), context, few(context))}`,
  'bulk insert': (context) => bulkInsert(context, tableOf(context, context.random.pick(LARGE_TABLES))),
  'bulk update': (context) => {
    const table = tableOf(context, context.random.pick(LARGE_TABLES));
    return `UPDATE ${table.name} SET ${assignments(table, context)} WHERE ${some(table, context, BULK_ROWS + 100)}`;
  },
  'bulk delete': (context) => {
    const table = tableOf(context, context.random.pick(LARGE_TABLES));
    return `DELETE FROM ${table.name} WHERE ${some(table, context, BULK_ROWS)}`;
  },
  truncate: (context) => `TRUNCATE ${context.random.pick(EMPTIED)} CASCADE`,
  'truncate and fill': (context) => {
    const table = tableOf(context, context.random.pick(LARGE_TABLES));
    return `TRUNCATE ${table.name} CASCADE; ${insert(context, table, BULK_ROWS)}`;
  },
  'add column': (context) => {
    const type = context.random.pick(['text', "text DEFAULT 'constant'", 'integer NOT NULL DEFAULT 7']);
    return addColumn(anyTable(context).name, `${ADDED}${context.salt} ${type}`);
  },
};

/** How often each is drawn, of the sum of all. */
const WEIGHTS: Readonly<Record<keyof typeof KINDS, number>> = {
  insert: 14,
  upsert: 4,
  update: 16,
  'same values': 3,
  'other bytes of equal values': 3,
  'key change': 8,
  'keys that move on': 3,
  delete: 9,
  'delete and insert': 3,
  'device moves': 6,
  'users change groups': 8,
  'groups change locations': 3,
  'areas change locations': 4,
  'bulk insert': 4,
  'bulk update': 3,
  'bulk delete': 1,
  truncate: 1,
  'truncate and fill': 1,
  'add column': 3,
};
const EXCLUSIVE = ['truncate', 'truncate and fill', 'add column'];
const DRAWN = Object.entries(WEIGHTS).flatMap(([kind, weight]) => Array<string>(weight).fill(kind));

/** What an application might do to central's tables. Which rows it meets follows from the salt and what is there. */
export function randomMutation(fleet: RandomFleet, random: Random, salt: number): Mutation {
  const kind = random.pick(DRAWN);
  return { kind, sql: (KINDS[kind] as Kind)({ fleet, random, salt }), isExclusive: EXCLUSIVE.includes(kind) };
}

const few = ({ random }: Context): number => 1 + random.below(12);

function tableOf({ fleet }: Context, name: string): Table {
  return fleet.tables.find((table) => table.name === name) as Table;
}

function anyTable({ fleet, random }: Context): Table {
  return random.pick(fleet.tables);
}

/** Condition: the first rows in an order of the salt's own. */
function some({ name, key }: Pick<Table, 'name' | 'key'>, { salt }: Context, count: number): string {
  const list = key.join(', ');
  return `(${list}) IN (SELECT ${list} FROM ${name} ORDER BY md5(ROW(${list})::text || '/${salt}') LIMIT ${count})`;
}

const another = (table: string, { salt }: Context): string => `(SELECT id FROM ${table} ORDER BY md5(id::text || '+${salt}') LIMIT 1)`;

/** Condition: no device that syncs goes with the row. */
function isFree({ name }: Table): string {
  if (name === 'devices') return "mac::text LIKE '02:%'";
  return name === 'locations' ? 'NOT EXISTS (SELECT FROM devices WHERE location_id = locations.id)' : 'true';
}

function insert({ salt }: Context, table: Table, count: number): string {
  return insertRows(table, { first: salt * NUMBERS, count });
}

function bulkInsert(context: Context, table: Table): string {
  const select = insert(context, table, BULK_ROWS);
  return select.replace('ON CONFLICT', `WHERE (SELECT count(*) FROM ${table.name}) < ${LARGE} ON CONFLICT`);
}

function assignments({ columns, key }: Table, { random, salt }: Context): string {
  const isPlain = ({ name, type, of }: Column): boolean => !of && !key.includes(name) && type !== 'macaddr';
  const plain = columns.filter(isPlain);
  if (plain.length === 0) return `${key[0]} = ${key[0]}`;
  const changed = plain.filter(() => random.chance(0.5));
  return (changed.length > 0 ? changed : plain).map((column) => `${column.name} = ${plainValue(column, String(salt))}`).join(', ');
}

function changeKeys(context: Context, table: Table): string {
  const { name, columns, key } = table;
  const first = columns.find((column) => column.name === key[0]) as Column;
  if (first.of) return `UPDATE ${name} SET ${first.name} = ${another(first.of, context)} WHERE ${some(table, context, 2)}`;
  const list = key.join(', ');
  const fresh = `SELECT ${list}, ${context.salt * NUMBERS} + row_number() OVER (ORDER BY ${list}) AS n FROM ${name} WHERE ${some(table, context, 3)}`;
  const isSame = key.map((column) => `t.${column} = fresh.${column}`).join(' AND ');
  return `UPDATE ${name} AS t SET ${first.name} = ${keyValue(table, first, 'fresh.n')} FROM (${fresh}) AS fresh WHERE ${isSame}`;
}

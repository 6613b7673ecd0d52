import type pg from 'pg';
import { captureTriggers, READ_KEYS, type CaptureTrigger } from './triggers.sql.js';
import { READ_CHANGES_TABLE, READ_TRIGGERS } from './check-triggers.sql.js';

/** A table by its oid, and as SQL writes its name. */
export interface TableRef {
  oid: string;
  name: string;
}

/** A table whose changes are not recorded for certain, and why. */
export interface UncapturedTable extends TableRef {
  reason: string;
}

export interface TriggerCheck {
  uncaptured: UncapturedTable[];
  /** Why what triggers record is not to be relied on, whatever the table. */
  blockers: string[];
  /** Oids of the functions that triggers call, and of waypost.changes: what was found holds while their definitions stay as they are. */
  functions: string[];
  changesTable: string | undefined;
}

interface FoundTrigger {
  oid: string;
  name: string;
  firesAlways: boolean;
  type: number;
  oldTable: string;
  newTable: string;
  isUnconditional: boolean;
  schema: string;
  function: string;
  body: string;
  functionOid: string;
  runsAsOwner: boolean;
  mayRecord: boolean;
  owner: string;
}

interface ChangesTable {
  oid: string;
  isTable: boolean;
  isLogged: boolean;
  isPlain: boolean;
  columns: string[];
}

const INSTALL = 'run waypost capture install';
/** With its table's oid, which a restore changes. */
const EARLIER_FUNCTION = /^capture_\d+_/;
const COLUMNS = [
  'changed_at timestamp with time zone clock_timestamp()',
  'keys text[]',
  'operation text',
  'relation oid',
  'xid xid8 pg_current_xact_id()',
];

/**
 * Compares the triggers of tables with what they must be: one for each operation that fires always, for every statement, and calls exactly the function
 * for the table's present key. Anything else counts as uncaptured. search_path must be pinned.
 */
export async function checkTriggers(client: pg.ClientBase, tables: readonly TableRef[]): Promise<TriggerCheck> {
  const oids = tables.map(({ oid }) => oid);
  const { rows: found } = await client.query<FoundTrigger>(READ_TRIGGERS, [oids]);
  const { rows: changes } = await client.query<ChangesTable>(READ_CHANGES_TABLE);
  const keys = await readKeys(client, oids);
  const uncaptured = tables.flatMap((table) => {
    const triggers = found.filter(({ oid }) => oid === table.oid);
    const reason = whyUnwatched(triggers, captureTriggers(keys.get(table.oid) ?? []));
    return reason === undefined ? [] : [{ ...table, reason }];
  });
  return {
    uncaptured,
    blockers: whyNotRecorded(changes[0]),
    functions: [...new Set(found.map(({ functionOid }) => functionOid))],
    changesTable: changes[0]?.oid,
  };
}

/** Columns of the primary keys, by the tables' oids. */
export async function readKeys(client: pg.ClientBase, oids: readonly string[]): Promise<Map<string, string[]>> {
  const { rows } = await client.query<{ oid: string; key: string[] }>(READ_KEYS, [oids]);
  return new Map(rows.map(({ oid, key }) => [oid, key]));
}

function whyUnwatched(found: readonly FoundTrigger[], expected: readonly CaptureTrigger[]): string | undefined {
  if (found.length === 0) return `has no triggers of Waypost: ${INSTALL}`;
  if (found.some((trigger) => EARLIER_FUNCTION.test(trigger.function))) {
    return `has triggers that were installed by an earlier version: ${INSTALL}`;
  }
  for (const wanted of expected) {
    const fault = faultOf(
      found.find(({ name }) => name === wanted.name),
      wanted,
    );
    if (fault !== undefined) return `${fault}: ${INSTALL}`;
  }
  return undefined;
}

function faultOf(found: FoundTrigger | undefined, wanted: CaptureTrigger): string | undefined {
  if (!found) return `has no trigger ${wanted.name}`;
  if (!found.firesAlways) return `has a trigger ${wanted.name} that does not fire always (ENABLE ALWAYS)`;
  const isOfForm = found.isUnconditional && found.type === wanted.type;
  if (!isOfForm || found.oldTable !== wanted.oldTable || found.newTable !== wanted.newTable) {
    return `has a trigger ${wanted.name} that does not fire after each ${wanted.operation}`;
  }
  const name = `${found.schema}.${found.function}`;
  if (name !== `waypost.${wanted.function}`)
    return `has a trigger ${wanted.name} that calls ${name}, which is not the function for its key`;
  if (found.body !== wanted.body || !found.runsAsOwner) return `has a trigger ${wanted.name} whose function ${name} was altered`;
  if (!found.mayRecord)
    return `has a trigger ${wanted.name} whose function belongs to ${found.owner}, which may not write to waypost.changes`;
  return undefined;
}

function whyNotRecorded(table: ChangesTable | undefined): string[] {
  if (!table) return ['waypost.changes does not exist: start central once'];
  if (!table.isTable || COLUMNS.some((column) => !table.columns.includes(column))) {
    return ['waypost.changes is not the table that central’s migrations make'];
  }
  if (!table.isLogged) return ['waypost.changes is unlogged: a crash empties it'];
  return table.isPlain ? [] : ['waypost.changes has triggers, rules or row-level security: they may hide or swallow what is recorded'];
}

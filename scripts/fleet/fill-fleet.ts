import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ClientBase } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { copyText, type CopyValue } from './copy-text.js';
import { areaRows, deviceRows } from './equipment.js';
import { checkFleetSize, DEFAULT_FLEET_SIZE, type FleetSize } from './fleet-size.js';
import { groupMemberRows, userRows } from './people.js';
import { makePlaces, type Places } from './places.js';
import { ADD_KEYS, CREATE_TABLES, DROP_TABLES, FLEET_TABLES, type FleetTable } from './schema.js';

export interface FillOptions extends Partial<FleetSize> {
  /** Drops the example's tables first, if they are there. */
  replace?: boolean;
}

/**
 * Creates the example's tables in schema public and fills them, in one transaction: all of it or nothing.
 * The same size and seed give byte-identical rows. Streams by COPY; memory does not grow with users, devices or areas.
 * @param client a connection of its own, without an open transaction
 * @throws RangeError for an impossible size; Error when one of the tables exists and `replace` is not set
 */
export async function fillFleet(client: ClientBase, { replace = false, ...given }: FillOptions = {}): Promise<void> {
  const size = { ...DEFAULT_FLEET_SIZE, ...given };
  checkFleetSize(size);
  const existing = replace ? [] : await existingFleetTables(client);
  if (existing.length > 0) throw new Error(`The database already has ${existing.join(', ')}. To drop and refill them: --replace`);

  await client.query('BEGIN');
  try {
    // Unqualified names in the statements below mean public under any settings of the role.
    await client.query('SET LOCAL search_path = public');
    if (replace) await client.query(DROP_TABLES);
    await client.query(CREATE_TABLES);
    const places = makePlaces(size);
    for (const table of FLEET_TABLES) await copyRows(client, table, rowsOf(table, size, places));
    await client.query(ADD_KEYS);
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

/** Which of the example's tables the database has. */
export async function existingFleetTables(client: ClientBase): Promise<FleetTable[]> {
  const { rows } = await client.query<{ name: FleetTable }>(
    `SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(format('public.%I', name)) IS NOT NULL`,
    [FLEET_TABLES],
  );
  return rows.map(({ name }) => name);
}

function rowsOf(table: FleetTable, size: FleetSize, places: Places): Iterable<CopyValue[]> {
  switch (table) {
    case 'users':
      return userRows(size, places);
    case 'group_members':
      return groupMemberRows(size, places);
    case 'areas':
      return areaRows(size, places);
    case 'devices':
      return deviceRows(size, places);
    default:
      return places.rows[table];
  }
}

/** FREEZE, allowed because the table is new in this transaction, spares the later vacuum a rewrite of all pages. */
async function copyRows(client: ClientBase, table: FleetTable, rows: Iterable<CopyValue[]>): Promise<void> {
  const sink = client.query(copyFrom(`COPY ${table} FROM STDIN (FREEZE)`));
  await pipeline(Readable.from(copyText(rows), { objectMode: false }), sink);
}

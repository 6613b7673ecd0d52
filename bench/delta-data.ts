import type pg from 'pg';
import { CREATE_TABLE, DEVICE_MAC, fillWith, TABLE } from './dataset.js';

export const KEY_TYPES = ['bigint', 'uuid', 'text'] as const;
export type KeyType = (typeof KEY_TYPES)[number];

/** The key of the row with number `i`, in SQL: uuids are in no order of the numbers. */
const KEY_OF: Record<KeyType, (i: string) => string> = {
  bigint: (i) => i,
  uuid: (i) => `md5((${i})::text)::uuid`,
  text: (i) => `'item-' || lpad((${i})::text, 9, '0')`,
};

/** A shelf's rows enter and leave the scope together. */
const ROWS_PER_SHELF = 100;
const LOCATION = 1;
const OTHER_LOCATION = 2;
/** Rows that are inserted later have numbers from here on. */
const FIRST_NEW_NUMBER = 500_000_000;
const BATCHES = 90;

/** By a column of the row's own, and by a joined table. */
const conditionFor = (location: string): string =>
  `price >= 0 AND EXISTS (SELECT FROM shelves s WHERE s.id = shelf_id AND s.location_id = ${location})`;
export const IN_SCOPE = conditionFor(String(LOCATION));

export const DELTA_PLAN = `version: 1
schemaVersion: 1
changes: triggers
scope:
  query: SELECT location_id FROM devices WHERE mac = :mac
tables:
  - name: ${TABLE}
    where: ${conditionFor(':location_id')}
`;

const OTHER_COLUMNS = 'sku, title, status, shelf_id, price, weight, in_stock, created_at, reference, attributes, note';

/** The table of 12 columns, with a key of this type and the row's shelf in place of a quantity. */
export async function createDeltaTable(client: pg.ClientBase, keys: KeyType): Promise<void> {
  await client.query(CREATE_TABLE);
  await client.query(`
    ALTER TABLE ${TABLE} ALTER id DROP IDENTITY;
    ALTER TABLE ${TABLE} ALTER id TYPE ${keys} USING NULL::${keys};
    ALTER TABLE ${TABLE} RENAME quantity TO shelf_id`);
}

export interface DeltaSize {
  keys: KeyType;
  /** In scope, a multiple of 100; 100 more are out of it. */
  rows: number;
}

/** Fills the table, with the shelves, one device and a fleet beside it, all at one location. */
export async function fillDelta(client: pg.ClientBase, { keys, rows }: DeltaSize, fleet: readonly string[]): Promise<void> {
  await createDeltaTable(client, keys);
  await client.query('CREATE TABLE shelves (id int PRIMARY KEY, location_id int NOT NULL)');
  await client.query(
    `INSERT INTO shelves SELECT n, CASE WHEN n < $1 THEN ${LOCATION} ELSE ${OTHER_LOCATION} END FROM generate_series(0, $1::int) n`,
    [rows / ROWS_PER_SHELF],
  );
  await client.query('CREATE TABLE devices (mac text PRIMARY KEY, location_id int NOT NULL)');
  await client.query(`INSERT INTO devices SELECT mac, ${LOCATION} FROM unnest($1::text[]) mac`, [[DEVICE_MAC, ...fleet]]);
  await client.query(fillWith({ key: KEY_OF[keys]('i'), quantity: `(i - 1) / ${ROWS_PER_SHELF}` }), [1, rows + ROWS_PER_SHELF]);
  await client.query(`CREATE INDEX ON ${TABLE} (shelf_id)`);
  await client.query('VACUUM (ANALYZE, FREEZE)');
}

/** What is done to central's tables in one transaction. Another seed chooses other rows. */
export type Change = (client: pg.ClientBase, seed: number) => Promise<void>;

export const updateOne: Change = async (client, seed) => {
  await client.query(`UPDATE ${TABLE} SET price = price + 1 WHERE id = (${somewhere(seed, 1)})`);
};

/** 80 updates, 9 inserts, 9 deletes, one key that changes, and one row that leaves the scope by its own column. */
export function changeHundred(keys: KeyType): Change {
  return async (client, seed) => {
    const newKey = KEY_OF[keys](`${FIRST_NEW_NUMBER + seed * 100} + n`);
    await client.query(`
      CREATE TEMPORARY TABLE picked ON COMMIT DROP AS SELECT id, row_number() OVER () AS n FROM (${somewhere(seed, 91)}) AS picked;
      ANALYZE picked;
      INSERT INTO ${TABLE} (id, ${OTHER_COLUMNS}) SELECT ${newKey}, ${OTHER_COLUMNS} FROM ${TABLE} JOIN picked USING (id) WHERE n <= 9;
      UPDATE ${TABLE} t SET price = price + 1 FROM picked p WHERE p.id = t.id AND n <= 80;
      DELETE FROM ${TABLE} t USING picked p WHERE p.id = t.id AND n BETWEEN 81 AND 89;
      UPDATE ${TABLE} t SET id = ${newKey} FROM picked p WHERE p.id = t.id AND n = 90;
      UPDATE ${TABLE} t SET price = -1 FROM picked p WHERE p.id = t.id AND n = 91`);
  };
}

export const updateTenth: Change = async (client, seed) => {
  await client.query(`UPDATE ${TABLE} SET price = price + 1 WHERE price >= 0 AND ${hash(seed)} % 10 = 0`);
};

/** Two shelves change places: 100 rows enter the scope and 100 leave it. */
export function swapShelves(rows: number): Change {
  return async (client) => {
    await client.query(`UPDATE shelves SET location_id = ${LOCATION + OTHER_LOCATION} - location_id WHERE id IN (0, $1)`, [
      rows / ROWS_PER_SHELF,
    ]);
  };
}

/** A tenth of the rows, in 90 transactions. */
export async function updateTenthInBatches(client: pg.ClientBase, seed: number): Promise<void> {
  await client.query(`
    CREATE TEMPORARY TABLE picked AS SELECT id, ${hash(seed)} / 10 % ${BATCHES} AS batch FROM ${TABLE} WHERE price >= 0 AND ${hash(seed)} % 10 = 0;
    CREATE INDEX ON picked (batch);
    ANALYZE picked`);
  for (let batch = 0; batch < BATCHES; batch += 1) {
    await client.query(`UPDATE ${TABLE} t SET price = price + 1 FROM picked p WHERE p.id = t.id AND p.batch = $1`, [batch]);
  }
}

export async function addColumn(client: pg.ClientBase, seed: number): Promise<void> {
  await client.query(`ALTER TABLE ${TABLE} ADD COLUMN grade_${seed} int NOT NULL DEFAULT 7`);
}

/** Rows in scope that lie anywhere in it. */
function somewhere(seed: number, count: number): string {
  return `SELECT id FROM ${TABLE} WHERE ${IN_SCOPE} ORDER BY ${hash(seed)} LIMIT ${count}`;
}

function hash(seed: number): string {
  return `(hashtextextended(id::text, ${seed}) & 2147483647)`;
}

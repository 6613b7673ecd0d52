import { readCapturedKey } from '@waypost/runtime';
import type pg from 'pg';
import type { SnapshotId } from '../chunk-store/snapshot-store.js';
import { FIND_EARLIER, MEASURE_CHANGES, READ_CHANGED_KEYS } from './changed-keys.sql.js';
import type { Tracked } from './change-tracker.js';

/** What a table was, and the keys of all rows that may have changed since. */
export interface EarlierRead {
  id: SnapshotId;
  /** Column by column, in the order of the plan's key. */
  keys: string[][];
  /** As of KeyedTable. */
  hasRanges: boolean;
}

interface Wanted {
  /** In the plan. */
  name: string;
  /** Of the plan. */
  key: readonly string[];
  readKey: string;
}

/** More keys lie in so many chunks that the table is read whole. */
const MAX_KEYS = 20_000;

/**
 * Finds what was read of tables earlier, and which rows have changed since, as the current transaction sees it.
 * @returns by the reads' keys; a text says why a table that was read earlier is to be read whole
 */
export async function findEarlierReads(
  client: pg.ClientBase,
  wanted: readonly Wanted[],
  { tracked, epoch }: { tracked: Tracked; epoch: string },
): Promise<Map<string, EarlierRead | string>> {
  type Row = SnapshotId & { key: string; seen: string };
  const keys = wanted.map(({ readKey }) => readKey);
  const { rows } = await client.query<Row>(FIND_EARLIER, [keys, epoch, tracked.fingerprint]);
  const found = new Map<string, EarlierRead | string>();
  for (const { key: readKey, seen, ...id } of rows) {
    const table = wanted.find((candidate) => candidate.readKey === readKey) as Wanted;
    const changed = await readChangedKeys(client, table, { tracked, seen });
    found.set(readKey, typeof changed === 'string' ? changed : { id, ...changed });
  }
  return found;
}

async function readChangedKeys(
  client: pg.ClientBase,
  { name, key }: Wanted,
  { tracked, seen }: { tracked: Tracked; seen: string },
): Promise<Omit<EarlierRead, 'id'> | string> {
  const keyed = tracked.keyed.get(name);
  if (!keyed) return 'what its query reads is not known';
  if ('obstacle' in keyed) return keyed.obstacle;
  const isRecorded = (recorded: readonly string[]): boolean =>
    recorded.length === key.length && key.every((column) => recorded.includes(column));
  if (![...keyed.keyOf.values()].every(isRecorded)) return 'its key was altered';
  const changes = [tracked.tablesOf.get(name), seen];
  const { rows: measured } = await client.query<{ relation: string; name: string; isUnlisted: boolean; keys: number }>(
    MEASURE_CHANGES,
    changes,
  );
  const joined = measured.find(({ relation }) => !keyed.keyOf.has(relation));
  if (joined) return `its query reads ${joined.name}, which has changed`;
  if (measured.some(({ isUnlisted }) => isUnlisted)) return 'a statement changed more rows than are recorded one by one';
  if (measured.reduce((sum, { keys }) => sum + keys, 0) > MAX_KEYS) return `more than ${MAX_KEYS} rows have changed`;
  const { rows } = await client.query<{ relation: string; key: string }>(READ_CHANGED_KEYS, changes);
  const columns = key.map((): string[] => []);
  for (const row of rows) {
    const recorded = keyed.keyOf.get(row.relation) as readonly string[];
    const values = readCapturedKey(row.key, recorded.length);
    for (const [at, column] of key.entries()) columns[at]!.push(values[recorded.indexOf(column)] as string);
  }
  return { keys: columns, hasRanges: keyed.hasRanges };
}

import pg from 'pg';
import { withClient } from '../../scripts/with-client.js';
import { tablesAsOf } from './history.js';
import { ADDED, type AddedColumns, type Shares, sharedColumns, type Table } from './tables.js';

/** One table's rows in a word, by PostgreSQL's own functions. */
export interface Digest {
  table: string;
  rows: number;
  md5: string;
}

/** What a device holds. */
export interface Held {
  /** Undefined before its first sync. */
  manifestId: string | undefined;
  digests: readonly Digest[];
  /** Columns that its tables were given meanwhile. */
  added: AddedColumns;
}

/** A device under judgement. */
export interface Judged {
  mac: string;
  /** Of its database. */
  url: string;
  held: Held;
}

/** A moment of central's: a snapshot, or `now` for the tables themselves. */
export type Moment = string;

/** A table that is not what it must be. */
export interface Difference {
  table: string;
  /** The first rows that differ, as `- row` where the device lacks it and `+ row` where only the device has it. */
  rows: readonly string[];
}

const SHOWN_ROWS = 6;
const MANIFEST_HELD = "SELECT value FROM waypost.edge_sync_state WHERE key = 'manifest_id'";

/** $1: names of tables, $2: how added columns begin. */
const ADDED_COLUMNS = `
  SELECT relname AS table, array_agg(attname::text ORDER BY attnum) AS columns FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
  WHERE relnamespace = 'public'::regnamespace AND relname = ANY($1::text[]) AND starts_with(attname::text, $2) GROUP BY relname`;

/**
 * The moment whose rows a device must hold: that of the manifest's snapshot. A manifest that is older than the cycle was confirmed by central as
 * unchanged: then it is the moment when the cycle began. $1: manifest id, $2: snapshot at the cycle's begin, or null where the manifest may be any.
 */
const MOMENT_OF = `
  SELECT CASE WHEN $2::pg_snapshot IS NOT NULL AND EXISTS (
    SELECT FROM generate_series(pg_snapshot_xmin(seen)::text::int8, pg_snapshot_xmax($2::pg_snapshot)::text::int8 - 1) AS xid
    WHERE pg_visible_in_snapshot(xid::text::xid8, $2::pg_snapshot) AND NOT pg_visible_in_snapshot(xid::text::xid8, seen)
  ) THEN $2::pg_snapshot::text ELSE seen::text END AS moment
  FROM waypost.manifests WHERE manifest_id = $1`;

/** Says, by SQL of its own, what a device must hold and what it holds. None of Waypost's hashes takes part. */
export class Judge {
  constructor(
    private readonly shares: Shares,
    private readonly central: pg.Pool,
  ) {}

  /** Central's present moment. */
  async snapshot(): Promise<Moment> {
    const { rows } = await this.central.query<{ now: string }>('SELECT pg_current_snapshot()::text AS now');
    return (rows[0] as { now: string }).now;
  }

  /**
   * @param began when the cycle began that succeeded with the manifest, if one did
   * @returns undefined where central did not say what the manifest's snapshot saw
   */
  async momentOf(manifestId: string, began?: Moment): Promise<Moment | undefined> {
    const { rows } = await this.central.query<{ moment: string | null }>(MOMENT_OF, [manifestId, began ?? null]);
    return rows[0]?.moment ?? undefined;
  }

  /** What the device must hold, in the columns that it has. */
  async share(mac: string, moment: Moment, added: AddedColumns = {}): Promise<Digest[]> {
    const { with: parts, scoped } = this.at(mac, moment);
    return (await this.central.query<Digest>(`WITH ${parts.join(', ')} ${digestsOf(this.shares.tables, scoped, added)}`)).rows;
  }

  /** What the device holds, all of one moment. */
  async mirror(url: string): Promise<Held> {
    return onDevice(url, async (client) => {
      const { rows } = await client.query<{ value: string }>(MANIFEST_HELD);
      if (rows.length === 0) return { manifestId: undefined, digests: [], added: {} };
      const { tables } = this.shares;
      const names = tables.map(({ name }) => name);
      const found = await client.query<{ table: string; columns: string[] }>(ADDED_COLUMNS, [names, ADDED]);
      const added = Object.fromEntries(found.rows.map(({ table, columns }) => [table, columns]));
      const digests = await client.query<Digest>(digestsOf(tables, () => 'true', added));
      return { manifestId: rows[0]?.value, digests: digests.rows, added };
    });
  }

  /** Whether the history tells of central's tables what they hold. @returns names of tables of which it does not; no session may write meanwhile */
  async wrongHistory(): Promise<string[]> {
    const tables = this.shares.tables.map(({ listed: _, ...table }) => table);
    const all = digestsOf(tables, () => 'true', {});
    const past = await this.central.query<Digest>(`WITH ${tablesAsOf(tables, await this.snapshot()).join(', ')} ${all}`);
    const present = await this.central.query<Digest>(all);
    return differing(past.rows, present.rows);
  }

  /** Looks for the rows that make tables of a device differ. */
  async explain({ mac, url, held }: Judged, moment: Moment, tables: readonly string[]): Promise<Difference[]> {
    const { with: parts, scoped } = this.at(mac, moment);
    const wrong = this.shares.tables.filter(({ name }) => tables.includes(name));
    const differences: Difference[] = [];
    for (const table of wrong) {
      const wanted = await this.central.query<{ row: string }>(
        `WITH ${parts.join(', ')} ${rowsOf(table, scoped(table), held.added)} ORDER BY row`,
      );
      const found = await onDevice(url, (client) => client.query<{ row: string }>(`${rowsOf(table, 'true', held.added)} ORDER BY row`));
      const rows = (result: pg.QueryResult<{ row: string }>): string[] => result.rows.map(({ row }) => row);
      differences.push({ table: table.name, rows: differenceOf(rows(wanted), rows(found)) });
    }
    return differences;
  }

  /** The parts of a WITH that make the tables those of the moment and find the device's scope, and each table's condition in its terms. */
  private at(mac: string, moment: Moment): { with: string[]; scoped: (table: Table) => string } {
    const { tables, scope } = this.shares;
    const past = moment === 'now' ? [] : tablesAsOf(tables, moment);
    return {
      with: [...past, `scope AS (${scope.replaceAll(':mac', pg.escapeLiteral(mac))})`],
      scoped: ({ where = 'true' }) => where.replaceAll(/(?<!:):(\w+)/g, '(SELECT $1 FROM scope)'),
    };
  }
}

/** @returns names of the tables whose rows differ */
export function differing(wanted: readonly Digest[], held: readonly Digest[]): string[] {
  const heldOf = new Map(held.map((digest) => [digest.table, digest]));
  return wanted
    .filter(({ table, rows, md5 }) => heldOf.get(table)?.rows !== rows || heldOf.get(table)?.md5 !== md5)
    .map(({ table }) => table);
}

function rowsOf(table: Table, where: string, added: AddedColumns): string {
  const values = sharedColumns(table, added).map((column) => `${table.name}.${column}::text`);
  return `SELECT ARRAY[${values.join(', ')}]::text COLLATE "C" AS row FROM ${table.name} WHERE ${where}`;
}

function digestsOf(tables: readonly Table[], whereOf: (table: Table) => string, added: AddedColumns): string {
  const digest = (table: Table): string =>
    `SELECT '${table.name}' AS table, count(*)::int AS rows, coalesce(md5(string_agg(row, E'\\n' ORDER BY row)), '') AS md5
     FROM (${rowsOf(table, whereOf(table), added)}) AS shared`;
  return tables.map(digest).join(' UNION ALL ');
}

function differenceOf(wanted: readonly string[], held: readonly string[]): string[] {
  const [isWanted, isHeld] = [new Set(wanted), new Set(held)];
  const missing = wanted.filter((row) => !isHeld.has(row)).map((row) => `- ${row}`);
  const surplus = held.filter((row) => !isWanted.has(row)).map((row) => `+ ${row}`);
  return [...missing.slice(0, SHOWN_ROWS), ...surplus.slice(0, SHOWN_ROWS), `${missing.length} missing, ${surplus.length} surplus`];
}

function onDevice<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  return withClient(url, async (client) => {
    await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL TimeZone = 'UTC'");
    return work(client);
  });
}

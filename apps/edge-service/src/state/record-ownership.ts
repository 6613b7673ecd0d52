import type pg from 'pg';
import { RECORD_OWNED } from './owned-tables.sql.js';

/** How a table came to be Waypost's. `earlier`: a version that did not ask yet mirrored it. */
export type Ownership = 'created' | 'empty' | 'adopted' | 'earlier';

/** A row to write to waypost.edge_owned_tables. */
export interface OwnedTable {
  /** As quoteTable spells it. */
  relation: string;
  /** Null where the table does not exist yet. */
  oid: number | null;
  how: Ownership;
}

/** @param identity of the database that holds them */
export async function recordOwnership(client: pg.ClientBase, tables: readonly OwnedTable[], identity: string): Promise<void> {
  const columns = [tables.map(({ relation }) => relation), tables.map(({ oid }) => oid), tables.map(({ how }) => how)];
  await client.query(RECORD_OWNED, [...columns, identity]);
}

import type pg from 'pg';
import { INSERT_SCHEMA_CHANGES } from './audit.sql.js';

/** What was done to a table or type of the device. */
export interface SchemaChange {
  /** By the manifest's name. */
  object: string;
  statement: string;
  /** Fingerprints of the table's shape, in the manifest that the device held and in the one that it got. */
  from?: string | undefined;
  to?: string | undefined;
}

/** Writes them down in the current transaction, so that they are true together. */
export async function recordSchemaChanges(client: pg.ClientBase, cycleId: string, changes: readonly SchemaChange[]): Promise<void> {
  if (changes.length === 0) return;
  const columns = [
    changes.map(({ object }) => object),
    changes.map(({ statement }) => statement),
    changes.map(({ from }) => from ?? null),
    changes.map(({ to }) => to ?? null),
  ];
  await client.query(INSERT_SCHEMA_CHANGES, [cycleId, ...columns]);
}

import { Inject, Injectable } from '@nestjs/common';
import { quoteTable, type TableIdentifier, type TableIndex } from '@waypost/contracts';
import { queryPrepared, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import { Database } from '../database/database.js';
import { OWN_COMMENT } from '../state/own-index-names.js';
import { checkExpressions } from './check-expressions.js';
import { createIndexStatement, ownName } from './index-statement.js';
import { INDEX_OPTIONS, type IndexOptions } from './index-options.js';
import { FIND_OWN_INDEXES, QUOTE_TEXT } from './indexes.sql.js';

/** An index that Waypost made on this device. */
export interface OwnIndex {
  schema: string;
  name: string;
  /** False where its removal was interrupted. */
  isValid: boolean;
}

/** A table that Waypost created. */
export interface CreatedTable {
  /** As quoteTable spells it. */
  relation: string;
  oid: string;
  indexes: OwnIndex[];
}

/** Finds, makes and removes the secondary indexes of the tables that Waypost created. Those of the device's owner are never among them. */
@Injectable()
export class OwnIndexes {
  constructor(
    @Inject(INDEX_OPTIONS) private readonly options: IndexOptions,
    private readonly database: Database,
  ) {}

  async find(client: pg.ClientBase): Promise<CreatedTable[]> {
    return queryPrepared<CreatedTable>(client, 'indexes', FIND_OWN_INDEXES, [this.database.identity.identity]);
  }

  /**
   * Keeps writers out of the table meanwhile, readers not.
   * @throws IndexRefused; what PostgreSQL refuses it with
   */
  async create(client: pg.ClientBase, table: TableIdentifier, oid: string, index: TableIndex): Promise<void> {
    await withTransaction(client, 'READ WRITE', async () => {
      await client.query(
        `SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', '0', true), set_config('search_path', 'pg_catalog', true)`,
        [String(this.options.lockTimeoutMs)],
      );
      await checkExpressions(client, table, oid, index);
      // By the extended protocol, which takes no second statement.
      await client.query({ text: createIndexStatement(table, index), queryMode: 'extended' } as pg.QueryConfig);
      const { rows } = await client.query<{ quoted: string }>(QUOTE_TEXT, [`${OWN_COMMENT}, as ${index.name} of central`]);
      await client.query(`COMMENT ON INDEX ${nameIn(table.schema, ownName(table, index))} IS ${rows[0]!.quoted}`);
    });
  }

  /** Locks no session out: readers that still use it are waited for, up to the lock timeout. Then it is left invalid, and can be dropped again. */
  async drop(client: pg.ClientBase, { schema, name }: OwnIndex): Promise<void> {
    await client.query(`SELECT set_config('lock_timeout', $1, false)`, [String(this.options.lockTimeoutMs)]);
    try {
      await client.query(`DROP INDEX CONCURRENTLY IF EXISTS ${nameIn(schema, name)}`);
    } finally {
      await client.query('RESET lock_timeout').catch(() => undefined); // a broken connection is not used again
    }
  }
}

function nameIn(schema: string, name: string): string {
  return quoteTable({ schema, table: name });
}

import { parseTableName, quoteIdentifier, quoteTable, type ManifestTable } from '@waypost/contracts';
import { pinSession, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import { withClient } from '../../scripts/with-client.js';

/**
 * What a database holds of a manifest's tables, as PostgreSQL alone says it: per table the MD5 of each row's text, sorted. Neither COPY nor
 * anything else of Waypost's hashing takes part.
 */
export async function contentsOf(url: string, tables: readonly ManifestTable[]): Promise<Record<string, string[]>> {
  return withClient(url, (client) =>
    withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
      await pinSession(client);
      const contents: Record<string, string[]> = {};
      for (const table of tables) contents[table.name] = await rowsOf(client, table);
      return contents;
    }),
  );
}

async function rowsOf(client: pg.ClientBase, { name, columns }: ManifestTable): Promise<string[]> {
  const row = columns.map((column) => `t.${quoteIdentifier(column.name)}::text`);
  // A function takes at most 100 arguments, an array any number.
  const { rows } = await client.query<{ row: string }>(
    `SELECT md5(convert_to(ARRAY[${row.join(', ')}]::text, 'UTF8')) AS row FROM ${quoteTable(parseTableName(name))} AS t ORDER BY 1`,
  );
  return rows.map(({ row }) => row);
}

import { type Manifest, parseTableName, quoteTable } from '@waypost/contracts';
import { describeTables, pinSession } from '@waypost/runtime';
import type pg from 'pg';
import { compareColumns } from '../schema/compare-columns.js';
import { checkTypes } from '../schema/user-types.js';
import { RETAINED_ROWS } from '../state/retained-rows.js';
import { matches, hashTable, type TableFacts } from '../verify/verify-table.js';

export interface TableFinding {
  name: string;
  /** `altered`: its columns differ, so that its rows have no hash to compare. */
  state: 'ok' | 'drifted' | 'altered' | 'missing';
  expected: TableFacts;
  actual: TableFacts | null;
  /** Beside the mirror, and left out: rows of the device's own still reference them. */
  keptRows: number;
  differences: string[];
}

/**
 * Hashes every table of a manifest as it is in the current transaction, which must be REPEATABLE READ, so that all are of one moment.
 * Changes nothing.
 */
export async function hashMirror(client: pg.ClientBase, manifest: Manifest): Promise<{ tables: TableFinding[]; types: string[] }> {
  const described = await describeTables(
    client,
    manifest.tables.map(({ name }) => parseTableName(name)),
  );
  const types = (await checkTypes(client, manifest.types)).map(({ text }) => text);
  await pinSession(client);
  const retained = await countRetained(client);
  const tables: TableFinding[] = [];
  for (const table of manifest.tables) {
    const local = described.get(quoteTable(parseTableName(table.name)));
    const differences = local ? compareColumns(table, local).map(({ text }) => text) : ['the table is not there'];
    const keptRows = retained.get(table.name) ?? 0;
    const actual = local && differences.length === 0 ? factsOf(await hashTable(client, table, local, { hasRetained: keptRows > 0 })) : null;
    const state = !local ? 'missing' : !actual ? 'altered' : matches(actual, table) ? 'ok' : 'drifted';
    tables.push({ name: table.name, state, expected: factsOf(table), actual, keptRows, differences });
  }
  return { tables, types };
}

async function countRetained(client: pg.ClientBase): Promise<Map<string, number>> {
  const { rows } = await client.query<{ name: string; count: number }>(
    `SELECT table_name AS name, count(*)::int AS count FROM ${RETAINED_ROWS} GROUP BY table_name`,
  );
  return new Map(rows.map(({ name, count }) => [name, count]));
}

function factsOf({ rowCount, sha256 }: TableFacts): TableFacts {
  return { rowCount, sha256 };
}

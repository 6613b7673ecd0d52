import { quoteTable, type TableIdentifier, type TableIndex } from '@waypost/contracts';
import type pg from 'pg';
import { staysWithinBrackets } from './expression.js';
import { FIND_FOREIGN_PARTS } from './indexes.sql.js';

const VIEW = 'waypost_index_expressions';

/** Why an index of the manifest is not made here, where PostgreSQL has not said it. */
export class IndexRefused extends Error {}

/**
 * Refuses expressions and predicates that are more than expressions over the table's columns with PostgreSQL's own functions and operators. PostgreSQL parses them
 * as a view, which executes nothing, in the current transaction, with search_path at pg_catalog. That they are immutable CREATE INDEX checks.
 * @throws IndexRefused; what PostgreSQL says of a text that is no expression
 */
export async function checkExpressions(
  client: pg.ClientBase,
  table: TableIdentifier,
  oid: string,
  { keys, predicate }: TableIndex,
): Promise<void> {
  const expressions = keys.flatMap(({ expression }) => expression ?? []);
  const texts = [...expressions, ...(predicate === undefined ? [] : [predicate])];
  if (texts.length === 0) return;
  const odd = texts.find((text) => !staysWithinBrackets(text));
  if (odd !== undefined) throw new IndexRefused(`${odd} is not an expression`);
  const columns = texts.map((text, at) => `(${text}) AS e${at}`).join(', ');
  await client.query({
    text: `CREATE TEMPORARY VIEW ${VIEW} AS SELECT ${columns} FROM ${quoteTable(table)}`,
    queryMode: 'extended',
  } as pg.QueryConfig);
  const { rows } = await client.query<{ part: string }>(FIND_FOREIGN_PARTS, [`pg_temp.${VIEW}`, oid]);
  await client.query(`DROP VIEW pg_temp.${VIEW}`);
  if (rows[0]) throw new IndexRefused(`${rows[0].part} is not PostgreSQL’s own`);
}

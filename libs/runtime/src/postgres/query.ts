import type pg from 'pg';

/** Runs one statement and returns its rows. */
export type Query = <Row extends object>(text: string, values?: unknown[]) => Promise<Row[]>;

/** Runs a prepared statement, whose plan the connection keeps: planning a query of the catalog takes longer than running it. */
export async function queryPrepared<Row extends object>(
  client: pg.ClientBase,
  name: string,
  text: string,
  values: unknown[],
): Promise<Row[]> {
  return (await client.query<never>({ name: `waypost ${name}`, text, values })).rows;
}

/** A Query on this connection. */
export function queryOn(client: pg.ClientBase): Query {
  return async (text, values) => (await client.query<never>(text, values)).rows;
}

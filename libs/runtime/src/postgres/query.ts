import type pg from 'pg';

/** Runs one statement, wherever; the answer's rows. */
export type Ask = <Row extends object>(text: string, values?: unknown[]) => Promise<Row[]>;

/** As Ask, with a plan that is kept for the connection's life: planning a query of the catalog takes longer than running it. */
export async function askPrepared<Row extends object>(
  client: pg.ClientBase,
  name: string,
  text: string,
  values: unknown[],
): Promise<Row[]> {
  return (await client.query<never>({ name: `waypost ${name}`, text, values })).rows;
}

/** As Ask, on this connection. */
export function askerOf(client: pg.ClientBase): Ask {
  return async (text, values) => (await client.query<never>(text, values)).rows;
}

import { setTimeout as sleep } from 'node:timers/promises';
import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { TABLE } from './dataset.js';
import { type Servers, withClient } from './servers.js';

/** What PostgreSQL itself offers to copy a table to another server. `run` fills the empty table on the edge. */
export interface Peer {
  run(): Promise<void>;
  /** Outside of the measured time. */
  cleanUp(): Promise<void>;
}

const POLL_MS = 5;
const SUBSCRIPTION = 'bench_subscription';
const PUBLICATION = 'bench_publication';

/** (a) One server's COPY in key order into the other's, binary, unverified and uncompressed: the limit. */
export function orderedBinaryCopy(servers: Servers, database: string): Peer {
  const out = `COPY (SELECT * FROM ${TABLE} ORDER BY id) TO STDOUT (FORMAT binary)`;
  return { run: () => pipe(servers, database, out, `COPY ${TABLE} FROM STDIN (FORMAT binary)`), cleanUp: nothing };
}

/** (b) Text in no particular order: what `pg_dump --data-only | psql` does. */
export function textCopy(servers: Servers, database: string): Peer {
  return { run: () => pipe(servers, database, `COPY ${TABLE} TO STDOUT`, `COPY ${TABLE} FROM STDIN`), cleanUp: nothing };
}

/** (c) The initial copy of logical replication, from CREATE PUBLICATION until the table counts as synchronized. */
export function logicalReplication(servers: Servers, database: string): Peer {
  const central = servers.urlOf('central', database);
  const edge = servers.urlOf('edge', database);
  return {
    async run() {
      await withClient(central, (client) => client.query(`CREATE PUBLICATION ${PUBLICATION} FOR TABLE ${TABLE}`));
      await withClient(edge, async (client) => {
        await client.query(`CREATE SUBSCRIPTION ${SUBSCRIPTION} CONNECTION ${pg.escapeLiteral(central)} PUBLICATION ${PUBLICATION}`);
        while (!(await isSynchronized(client))) await sleep(POLL_MS);
      });
    },
    async cleanUp() {
      await withClient(edge, (client) => client.query(`DROP SUBSCRIPTION IF EXISTS ${SUBSCRIPTION}`));
      await withClient(central, (client) => client.query(`DROP PUBLICATION IF EXISTS ${PUBLICATION}`));
    },
  };
}

/** The copy is committed once the table's state is `s` (synchronized) or `r` (ready). */
async function isSynchronized(client: pg.Client): Promise<boolean> {
  const { rowCount } = await client.query("SELECT FROM pg_subscription_rel WHERE srsubstate IN ('s', 'r')");
  return rowCount === 1;
}

/** Reads those rows of the table, as `t`, for which the condition holds, binary and in key order, and does nothing with them. */
export async function readOrdered(url: string, condition = 'true'): Promise<void> {
  const out = `COPY (SELECT * FROM ${TABLE} AS t WHERE ${condition} ORDER BY id) TO STDOUT (FORMAT binary)`;
  await withClient(url, async (client) => {
    for await (const _data of client.query(copyTo(out)));
  });
}

async function pipe(servers: Servers, database: string, out: string, into: string): Promise<void> {
  await withClient(servers.urlOf('central', database), (source) =>
    withClient(servers.urlOf('edge', database), (target) => pipeline(source.query(copyTo(out)), target.query(copyFrom(into)))),
  );
}

async function nothing(): Promise<void> {}

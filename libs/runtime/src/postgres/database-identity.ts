import { WaypostError } from '@waypost/contracts';
import type { Query } from './query.js';

/** Which of Waypost's two services a database's schema `waypost` belongs to. */
export type DatabaseSide = 'central' | 'edge';

/** Tables that only one side has, in every version: they mark the schema as that side's. */
const MARKS: Record<DatabaseSide, readonly string[]> = {
  central: ['central_migrations', 'central_state', 'sync_requests'],
  edge: ['edge_migrations', 'edge_sync_state', 'edge_sync_log'],
};

/** SQL condition: the database holds tables of this side. Needs no right on them. */
export function hasTablesOf(side: DatabaseSide): string {
  const names = MARKS[side].map((name) => `'${name}'`).join(', ');
  return `EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                  WHERE n.nspname = 'waypost' AND c.relname IN (${names}))`;
}

/** SQL statement: whether this role may read the server's system identifier; PostgreSQL grants it to everyone until someone revokes it. */
const MAY_IDENTIFY = "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') AS allowed";

/** SQL expression: which database of which server this is. `unknown` stands in place of a server that does not say. */
export function identityExpression(mayIdentify: boolean): string {
  const server = mayIdentify ? '(SELECT system_identifier FROM pg_catalog.pg_control_system())' : "'unknown'";
  return `pg_catalog.concat_ws('/', ${server}, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))`;
}

/** Which database a connection leads to. */
export interface DatabaseIdentity {
  /** Whether the role may read the server's system identifier. Without it databases of two servers may look alike. */
  mayIdentify: boolean;
  /** `<system identifier>/<oid of the database>`. A dump restored elsewhere has another one; a failed-over or copied server has the same. */
  identity: string;
}

/** @throws errors of pg */
export async function readDatabaseIdentity(query: Query): Promise<DatabaseIdentity> {
  const [right] = await query<{ allowed: boolean }>(MAY_IDENTIFY);
  const mayIdentify = right?.allowed === true;
  const [found] = await query<{ identity: string }>(`SELECT ${identityExpression(mayIdentify)} AS identity`);
  return { mayIdentify, identity: found!.identity };
}

/** Refusal of an edge: its database is the one that central works on. */
export function databaseIsCentrals(why: string): WaypostError {
  return new WaypostError('WRONG_DATABASE', {
    detail: `DATABASE_URL of edge-service leads to central's database: ${why}.`,
    hint: 'Give edge-service a database of its own: correct its DATABASE_URL. Nothing was written there. If that database really is to become the device’s, drop central’s schema `waypost` from it first.',
  });
}

/** Refusal of central: the schema `waypost` of its database was made by an edge. */
export function databaseIsAnEdges(): WaypostError {
  return new WaypostError('WRONG_DATABASE', {
    detail: "DATABASE_URL of central-api leads to a device's database: its schema waypost holds tables of edge-service.",
    hint: 'Correct DATABASE_URL of central-api. If edge-service was started on central’s database by mistake, correct its DATABASE_URL, then remove what it made: DROP SCHEMA waypost CASCADE.',
  });
}

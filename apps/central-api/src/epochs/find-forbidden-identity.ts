import type pg from 'pg';
import { READ_FORBIDDEN_IDENTITY } from './central-state.sql.js';

/** What tells one database from another and may not be called. */
export interface ForbiddenFunction {
  /** With the types of its arguments. */
  name: string;
  /** Who may not call it. */
  role: string;
}

/** Those functions that the role of the service, who owns waypost.changes, may not call. */
export async function findForbiddenIdentity(client: pg.ClientBase): Promise<ForbiddenFunction[]> {
  return (await client.query<ForbiddenFunction>(READ_FORBIDDEN_IDENTITY)).rows;
}

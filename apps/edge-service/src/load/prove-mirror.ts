import { type MirrorShape, parseTableName, quoteTable } from '@waypost/contracts';
import { queryPrepared } from '@waypost/runtime';
import type pg from 'pg';
import type { KnownTableRow } from '../state/mirror-state.js';
import { PROVE_MIRROR } from './prove-mirror.sql.js';

/** A row of PROVE_MIRROR. */
export interface MirrorProof {
  /** Another one as soon as anything that the mirror's description is made of was altered and committed. */
  fingerprint: string;
  known: KnownTableRow[];
  /** Names of the tables that have retained rows. */
  retained: string[];
}

/**
 * Reads, by one statement, what proves that a mirror is as it was when it was described. Call it before the description: what is altered after this has another fingerprint.
 * @param where inside of a load the session is pinned: the statement is planned for each search_path
 */
export async function proveMirror(
  client: pg.ClientBase,
  { tables, types }: Pick<MirrorShape, 'tables' | 'types'>,
  where: 'compare' | 'load',
): Promise<MirrorProof> {
  const names = [tables, types].map((list) => list.map(({ name }) => parseTableName(name)));
  const parameters = names.flatMap((list) => [list.map(({ schema }) => schema), list.map(({ table }) => table)]);
  const relations = names[0]!.map(quoteTable);
  const [proof] = await queryPrepared<MirrorProof>(client, `proof of ${where}`, PROVE_MIRROR, [...parameters, relations]);
  return proof as MirrorProof;
}

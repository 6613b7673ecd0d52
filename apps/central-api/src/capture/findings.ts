import type { Query } from '@waypost/runtime';
import * as sql from './findings.sql.js';

/** A change that was not captured, or a table whose writes are not. */
export interface CaptureFinding {
  table: string;
  foundAt: Date;
  foundBy: string;
  /** Of a canary. */
  detail: string | null;
  /** Of a shadow read. */
  manifestId: string | null;
  mac: string | null;
}

/** Whether the tables of findings and canaries are there, and the statement that lets this role read them where it may not. */
export interface RightToFindings {
  areThere: boolean;
  missingRight: string | null;
}

export async function findRightToFindings(query: Query): Promise<RightToFindings> {
  const [right] = await query<RightToFindings>(sql.READ_RIGHT_TO_FINDINGS);
  return right ?? { areThere: false, missingRight: null };
}

export function findOpenFindings(query: Query): Promise<CaptureFinding[]> {
  return query<CaptureFinding>(sql.READ_FINDINGS);
}

/** Forgets which tables were read for others: since the lost change came, they were read under the same capture. */
export async function dropTableReads(query: Query): Promise<void> {
  await query(sql.DROP_READS);
}

/**
 * Ends a table's open finding: what was read and issued before counts no more. To be called in a transaction.
 * @returns whether one was open
 */
export async function clearCaptureFinding(query: Query, table: string): Promise<boolean> {
  const [cleared] = await query(sql.CLEAR_FINDING, [table]);
  if (!cleared) return false;
  await dropTableReads(query);
  await query(sql.FORGET_SEEN);
  return true;
}

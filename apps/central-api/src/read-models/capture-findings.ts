import type { Query } from '@waypost/runtime';
import { READ_CANARY_STATES } from '../maintenance/canary.sql.js';
import { CLEAR_FINDING, DROP_READS, FORGET_SEEN, READ_FINDINGS, READ_RIGHT_TO_FINDINGS } from '../capture/findings.sql.js';

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

/** What came of trying whether writes to a table are recorded. */
export interface CanaryState {
  table: string;
  triedAt: Date;
  checkedAt: Date | null;
  notChecked: string | null;
}

/** Null where the role may not read it: `missingRight` says what to grant. */
export interface CaptureFindings {
  findings: CaptureFinding[] | null;
  canaries: CanaryState[] | null;
  missingRight?: string;
}

/** Empty before a central of this version ran on this database. */
export async function readCaptureFindings(query: Query): Promise<CaptureFindings> {
  const [found] = await query<{ areThere: boolean; missingRight: string | null }>(READ_RIGHT_TO_FINDINGS);
  if (!found?.areThere) return { findings: [], canaries: [] };
  if (found.missingRight !== null) return { findings: null, canaries: null, missingRight: found.missingRight };
  return {
    findings: await query<CaptureFinding>(READ_FINDINGS),
    canaries: await query<CanaryState>(READ_CANARY_STATES),
  };
}

/**
 * Ends a table's open finding: what was read and issued before counts no more. To be called in a transaction.
 * @returns whether one was open
 */
export async function clearCaptureFinding(query: Query, table: string): Promise<boolean> {
  const [cleared] = await query(CLEAR_FINDING, [table]);
  if (!cleared) return false;
  await query(DROP_READS);
  await query(FORGET_SEEN);
  return true;
}

import type { Query } from '@waypost/runtime';
import { type CaptureFinding, findOpenFindings, findRightToFindings } from '../capture/findings.js';
import { type CanaryState, findCanaryStates } from '../maintenance/canary-states.js';

/** Null where the role may not read it: `missingRight` says what to grant. */
export interface CaptureFindings {
  findings: CaptureFinding[] | null;
  canaries: CanaryState[] | null;
  missingRight?: string;
}

/** Empty before a central of this version ran on this database. */
export async function readCaptureFindings(query: Query): Promise<CaptureFindings> {
  const { areThere, missingRight } = await findRightToFindings(query);
  if (!areThere) return { findings: [], canaries: [] };
  if (missingRight !== null) return { findings: null, canaries: null, missingRight };
  return { findings: await findOpenFindings(query), canaries: await findCanaryStates(query) };
}

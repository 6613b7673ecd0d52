import { quoteIdentifier } from '@waypost/contracts';
import { checkTriggers, type TableRef, type TriggerCheck } from '@waypost/runtime';
import type pg from 'pg';
import { findForbiddenIdentity, type ForbiddenFunction } from '../epochs/find-forbidden-identity.js';

export interface CaptureCheck extends TriggerCheck {
  /** False where a right is missing: that shows in no definition. */
  isComplete: boolean;
}

/** Checks the triggers, and that central may see which database it is: else another one's changes would count as this one's. */
export async function checkCapture(client: pg.ClientBase, tables: readonly TableRef[]): Promise<CaptureCheck> {
  const check = await checkTriggers(client, tables);
  const forbidden = await findForbiddenIdentity(client);
  return { ...check, blockers: [...check.blockers, ...forbidden.map(whyNotKnown)], isComplete: forbidden.length === 0 };
}

function whyNotKnown({ name, role }: ForbiddenFunction): string {
  return `${role} may not call ${name}: a database that failed over or was copied would not be noticed. GRANT EXECUTE ON FUNCTION ${name} TO ${quoteIdentifier(role)}`;
}

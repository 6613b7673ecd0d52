import type { Query } from '@waypost/runtime';
import { READ_CANARY_STATES } from './canary.sql.js';

/** What came of trying whether writes to a table are recorded. */
export interface CanaryState {
  table: string;
  triedAt: Date;
  /** When writes were last found to be recorded or not; null: never. */
  checkedAt: Date | null;
  /** Why the last try said nothing; null: it did. */
  notChecked: string | null;
}

export function findCanaryStates(query: Query): Promise<CanaryState[]> {
  return query<CanaryState>(READ_CANARY_STATES);
}

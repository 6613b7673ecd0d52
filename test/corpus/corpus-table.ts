/** A table that has to arrive as it is, whatever is odd about it. Corpora run on PostgreSQL 15 and later, and always give the same rows. */
export interface CorpusTable {
  /** As the plan spells it. */
  name: string;
  /** Declared in the plan, as it spells columns. */
  key?: readonly string[];
  /** Makes and fills it on central. */
  create: string;
  /** What the device has before the first sync. Without it the edge makes the table. */
  edge?: string;
  /** Changes rows on central; the table's hash changes with it. */
  change: string;
}

/** Moves one row to another place and removes another. */
export function moveRows(name: string): string {
  return `UPDATE ${name} SET id = 1000 + id WHERE id = 2; DELETE FROM ${name} WHERE id = 3`;
}

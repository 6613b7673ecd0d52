import { describeKeyFaults } from './find-key-faults.js';
import type { TableExplanation } from './explain-plan.js';

/**
 * One table of a plan, as `npm run plan:check` and `waypost plan check` print it.
 * @param change what is read when rows of it have changed: chunks, or the table for this reason
 */
export function describeExplanation(table: TableExplanation, change: { reads: 'chunks' | 'table'; because: string | null }): string {
  const { name, columns, key, keyCheck, parameters, estimatedRows, orderedByIndex, indexes, reads } = table;
  return [
    name,
    `  rows       about ${estimatedRows} per device, by the planner's statistics; ${columns} columns`,
    `  key        ${key.join(', ')} (${orderedByIndex ? 'an index can give the order' : 'no index gives the order: rows are sorted for each snapshot'})`,
    ...(keyCheck === null ? [] : warnOfKey(keyCheck)).map((line) => `             ${line}`),
    `  parameters ${parameters.map((parameter) => `:${parameter}`).join(', ') || 'none: every device gets the same rows'}`,
    `  indexes    ${describeIndexes(indexes)}`,
    `  reads      ${reads.join(', ')}`,
    `  a change   ${change.reads === 'chunks' ? 'of rows costs the chunks that they lie in' : `costs a read of the whole table: ${change.because}`}`,
    '',
  ].join('\n');
}

function describeIndexes(indexes: TableExplanation['indexes']): string {
  if (indexes === null) return 'none beside the key, as the plan says';
  const leftOut = indexes.leftOut.map(({ name, reason }) => `${name} (${reason})`);
  const mirrored = indexes.mirrored.join(', ') || 'none beside the key';
  return leftOut.length === 0 ? mirrored : `${mirrored}; not ${leftOut.join(', ')}`;
}

function warnOfKey(check: NonNullable<TableExplanation['keyCheck']>): string[] {
  const unproven = 'no unique index over NOT NULL columns guards it: rows are read twice for each snapshot, to check it';
  if (check === 'timedOut') return [unproven, 'whether it identifies the rows now could not be found out within a minute'];
  const faults = describeKeyFaults(check);
  if (faults === '')
    return [unproven, 'it identifies the rows now; the first one that repeats it stops all tables of its devices (KEY_NOT_UNIQUE)'];
  return [
    unproven,
    check.isCertain
      ? `WARNING: it does not identify the rows: ${faults}. No device gets any table (KEY_NOT_UNIQUE)`
      : `WARNING: it does not identify the rows of all devices together: ${faults}. A device that has two of them gets no table (KEY_NOT_UNIQUE)`,
  ];
}

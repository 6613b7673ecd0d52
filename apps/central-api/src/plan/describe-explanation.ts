import { describeKeyFaults } from './find-key-faults.js';
import type { TableExplanation } from './explain-plan.js';

/**
 * What is read of a table when rows of it have changed: those rows, or the chunks that they lie in where that is cheaper; those rows, or the whole table where they
 * or their neighbours are long; the whole table always. And why it is not the first.
 */
export interface ChangeCost {
  reads: 'chunks' | 'rows' | 'table';
  because: string | null;
}

/**
 * One table of a plan, as `npm run plan:check` and `waypost plan check` print it.
 * @param change what is read when rows of it have changed
 */
export function describeExplanation(table: TableExplanation, change: ChangeCost): string {
  const { name, columns, key, keyCheck, parameters, estimatedRows, neverAnalyzed, orderedByIndex, indexes, reads } = table;
  return [
    name,
    `  rows       about ${estimatedRows} per device, by the planner's statistics; ${columns} columns`,
    ...(neverAnalyzed.length === 0
      ? []
      : [`             a guess: run ANALYZE in central's database; never analyzed: ${neverAnalyzed.join(', ')}`]),
    `  key        ${key.join(', ')} (${orderedByIndex ? 'an index can give the order' : 'no index gives the order: rows are sorted for each snapshot'})`,
    ...(keyCheck === null ? [] : warnOfKey(keyCheck)).map((line) => `             ${line}`),
    `  parameters ${parameters.map((parameter) => `:${parameter}`).join(', ') || 'none: every device gets the same rows'}`,
    `  indexes    ${describeIndexes(indexes)}`,
    `  reads      ${reads.join(', ')}`,
    `  a change   ${describeChange(change)}`,
    '',
  ].join('\n');
}

function describeChange({ reads, because }: ChangeCost): string {
  switch (reads) {
    case 'chunks':
      return 'of rows costs the chunks that they lie in';
    case 'rows':
      return `of rows costs these rows, but a read of the whole table where rows are long: ${because}`;
    case 'table':
      return `costs a read of the whole table: ${because}`;
  }
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

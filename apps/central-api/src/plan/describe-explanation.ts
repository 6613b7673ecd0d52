import type { TableExplanation } from './explain-plan.js';

/** One table of a plan, as `npm run plan:check` and `waypost plan check` print it. */
export function describeExplanation(table: TableExplanation): string {
  const { name, columns, key, keyIsProven, parameters, estimatedRows, orderedByIndex, reads } = table;
  return [
    name,
    `  rows       about ${estimatedRows} per device, by the planner's statistics; ${columns} columns`,
    `  key        ${key.join(', ')} (${orderedByIndex ? 'an index can give the order' : 'no index gives the order: rows are sorted for each snapshot'})`,
    ...(keyIsProven
      ? []
      : ['             no unique index over NOT NULL columns guards it: rows are read twice for each snapshot, to check it']),
    `  parameters ${parameters.map((parameter) => `:${parameter}`).join(', ') || 'none: every device gets the same rows'}`,
    `  reads      ${reads.join(', ')}`,
    '',
  ].join('\n');
}

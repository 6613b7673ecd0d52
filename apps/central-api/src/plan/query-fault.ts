import { WaypostError } from '@waypost/contracts';
import { sqlStateOf } from '@waypost/runtime';

/** SQLSTATE classes of queries that are right where a row is not: data exceptions, and more than one row of a subquery that is used as a value. */
const DATA_ERROR = /^2[12]/;

/**
 * @param query which of the plan's, in words
 * @returns PLAN_INVALID where a query of the plan fails on central's data; otherwise the error itself. PostgreSQL's message, which may quote a row of another device's
 * share, is in the log only.
 */
export function queryFault(error: unknown, query: string): unknown {
  const state = sqlStateOf(error) ?? '';
  if (error instanceof WaypostError || !DATA_ERROR.test(state)) return error;
  return new WaypostError('PLAN_INVALID', {
    detail: `The ${query} fails on a row of central's database (SQLSTATE ${state}).`,
    hint: "Central's log has PostgreSQL's message, with the request's id. Correct the row: devices then go on by themselves. Or write the query so that it takes such rows (NULLIF, CASE, LIMIT 1), and restart central.",
    cause: error,
  });
}

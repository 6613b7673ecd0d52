import { databaseError } from './database-errors.js';
import { toWaypostError } from './http.js';

const pgError = (code: string, message = 'said by PostgreSQL') => Object.assign(new Error(message), { code });

test.each([
  ['08006', 'DATABASE_UNAVAILABLE'], // connection failure
  ['57P01', 'DATABASE_UNAVAILABLE'], // terminated by an administrator
  ['57P03', 'DATABASE_UNAVAILABLE'], // starting up
  ['57014', 'DATABASE_UNAVAILABLE'], // cancelled
  ['53300', 'DATABASE_UNAVAILABLE'], // too many connections
  ['53200', 'DATABASE_UNAVAILABLE'], // out of memory
  ['40001', 'DATABASE_UNAVAILABLE'], // conflict with recovery
  ['25P03', 'DATABASE_UNAVAILABLE'], // idled too long in a transaction
  ['58030', 'DATABASE_UNAVAILABLE'], // i/o error
  ['ECONNREFUSED', 'DATABASE_UNAVAILABLE'],
  ['53100', 'DATABASE_FULL'],
  ['25006', 'DATABASE_READ_ONLY'],
  ['55P03', 'LOCK_TIMEOUT'],
])('%s is %s, with a hint, and passes', (state, code) => {
  const cause = pgError(state);
  expect(toWaypostError(cause)).toMatchObject({ code, heals: 'retry', detail: 'said by PostgreSQL', cause });
  expect(databaseError(cause)?.hint).toMatch(/\./);
});

test('a server without a free connection is told apart by its hint', () => {
  expect(databaseError(pgError('53300'))?.hint).toContain('max_connections');
});

test.each(['Connection terminated unexpectedly', 'Client was closed and is not queryable', 'timeout exceeded when trying to connect'])(
  'pg without an SQLSTATE: %s',
  (message) => {
    expect(databaseError(new Error(message))).toMatchObject({ code: 'DATABASE_UNAVAILABLE' });
  },
);

test.each(['42601', '23505', '22P02', 'XX000', 'ENOENT'])('%s is no fault of the server', (state) => {
  expect(databaseError(pgError(state))).toBeUndefined();
});

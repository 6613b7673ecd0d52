import { QueryFailedError, QueryRunnerAlreadyReleasedError, QueryRunnerProviderAlreadyReleasedError } from 'typeorm';
import { databaseError } from './database-errors.js';
import { toWaypostError } from './to-waypost-error.js';

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

test.each([
  'Connection terminated unexpectedly',
  'Connection terminated due to connection timeout',
  'Client has encountered a connection error and is not queryable',
  'Client was closed and is not queryable',
  'timeout expired',
  'timeout exceeded when trying to connect',
  new QueryRunnerAlreadyReleasedError().message,
  new QueryRunnerProviderAlreadyReleasedError().message,
])('pg and TypeORM without an SQLSTATE: %s', (message) => {
  expect(databaseError(new Error(message))).toMatchObject({ code: 'DATABASE_UNAVAILABLE' });
});

test('what TypeORM wraps is told apart as what it wraps', () => {
  expect(databaseError(new QueryFailedError('SELECT 1', [], pgError('57P01')))).toMatchObject({ code: 'DATABASE_UNAVAILABLE' });
  expect(databaseError(new QueryFailedError('SELECT 1', [], new Error('Connection terminated unexpectedly')))).toMatchObject({
    code: 'DATABASE_UNAVAILABLE',
  });
});

test('a Unix socket that is missing is a server that is away; another file is not', () => {
  const missing = pgError('ENOENT', 'connect ENOENT /var/run/postgresql/.s.PGSQL.5432');
  expect(databaseError(Object.assign(missing, { syscall: 'connect' }))).toMatchObject({ code: 'DATABASE_UNAVAILABLE' });
  expect(databaseError(Object.assign(pgError('ENOENT'), { syscall: 'open' }))).toBeUndefined();
});

test.each(['EHOSTUNREACH', 'ENETUNREACH', 'ENETDOWN', 'EHOSTDOWN', 'ECONNABORTED'])('%s is a server that cannot be reached', (state) => {
  expect(databaseError(pgError(state))).toMatchObject({ code: 'DATABASE_UNAVAILABLE' });
});

test.each(['42601', '23505', '22P02', 'XX000', 'ENOENT'])('%s is no fault of the server', (state) => {
  expect(databaseError(pgError(state))).toBeUndefined();
});

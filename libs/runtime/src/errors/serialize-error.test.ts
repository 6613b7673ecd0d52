import { WaypostError } from '@waypost/contracts';
import { serializeError } from './serialize-error.js';

const messageOf = (error: Error): string => (serializeError(error) as { message: string }).message;

test('a cause that the message quotes is not said again', () => {
  const cause = new Error('connect ECONNREFUSED 127.0.0.1:9');
  const unreachable = new WaypostError('DATABASE_UNAVAILABLE', { detail: `No connection to the database: ${cause.message}`, cause });
  expect(messageOf(unreachable)).toBe('No connection to the database: connect ECONNREFUSED 127.0.0.1:9');
});

test('causes that say more follow in their order, those of all addresses of a host too', () => {
  const cause = new AggregateError([new Error('::1 refused'), new Error('127.0.0.1 refused')]);
  expect(messageOf(new Error('a', { cause: new Error('', { cause }) }))).toBe('a: ::1 refused; 127.0.0.1 refused');
});

test('causes in a circle end', () => {
  const error = new Error('round');
  error.cause = new Error('and', { cause: error });
  expect(messageOf(error)).toBe('round: and');
});

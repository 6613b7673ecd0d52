import { type ErrorCode, toProblem, WaypostError } from '@waypost/contracts';
import { refusalError } from './central-errors.js';

const answered = (code: ErrorCode) =>
  refusalError({ status: new WaypostError(code).status, body: JSON.stringify(toProblem(new WaypostError(code))) });

test.each<[ErrorCode, ErrorCode]>([
  ['MANIFEST_EXPIRED', 'MANIFEST_EXPIRED'],
  ['SNAPSHOT_MISSING', 'SNAPSHOT_MISSING'],
  ['CENTRAL_BUSY', 'CENTRAL_BUSY'],
  ['TOO_MANY_REQUESTS', 'TOO_MANY_REQUESTS'],
  ['RANGE_INVALID', 'RANGE_INVALID'],
  ['DEVICE_UNKNOWN', 'CENTRAL_REFUSED'],
  ['INTERNAL', 'CENTRAL_REFUSED'],
  // Its database, not ours.
  ['DATABASE_UNAVAILABLE', 'CENTRAL_UNREACHABLE'],
])("central's %s is the device's %s", (code, expected) => {
  const error = answered(code);
  expect(error.code).toBe(expected);
  expect(error.message).toContain(code);
});

test.each([
  [429, 'CENTRAL_UNREACHABLE'],
  [502, 'CENTRAL_UNREACHABLE'],
  [503, 'CENTRAL_UNREACHABLE'],
  [404, 'CENTRAL_REFUSED'],
  [302, 'CENTRAL_REFUSED'],
])('HTTP %i without a problem document is %s', (status, code) => {
  expect(refusalError({ status, body: '<html>' }).code).toBe(code);
});

test('a code that this version does not know is judged by its status', () => {
  const body = JSON.stringify({ ...toProblem(new WaypostError('INTERNAL')), code: 'FROM_THE_FUTURE' });
  expect(refusalError({ status: 503, body }).code).toBe('CENTRAL_UNREACHABLE');
  expect(refusalError({ status: 403, body }).code).toBe('CENTRAL_REFUSED');
});

import { ackSchema, chunkStreamPath, prefersMinimal, syncRequestSchema } from './api.js';

const ID = '01J9ZK4Q8V5N6M7P8R9S0T1V2W';
const SHA = 'a'.repeat(64);

describe('a sync request', () => {
  test('needs only a MAC address', () => {
    expect(syncRequestSchema.parse({ mac: '48b02de9c3b7' })).toEqual({ mac: '48b02de9c3b7' });
  });

  test.each<[string, object]>([
    ['no MAC address', {}],
    ['an empty MAC address', { mac: '' }],
    ['a MAC address of a megabyte', { mac: '0'.repeat(1 << 20) }],
    ['an unknown payload', { mac: 'x', payload: 'xml' }],
    ['a manifest that is no ULID', { mac: 'x', have: { epoch: 'e', sequence: 1, manifestId: 'none' } }],
    ['a sequence that is not a whole number', { mac: 'x', have: { epoch: 'e', sequence: 1.5, manifestId: ID } }],
  ])('is refused with %s', (_, body) => {
    expect(syncRequestSchema.safeParse(body).success).toBe(false);
  });
});

describe('an acknowledgement', () => {
  const ack = { manifestId: ID, mac: 'x', status: 'Success', localCounts: { users: 2 }, localChecksums: { users: SHA }, durationMs: 12 };

  test.each([
    { ...ack, error: null },
    ack,
    { ...ack, status: 'Failed', error: 'disk full' },
    { ...ack, localCounts: {}, localChecksums: {} },
  ])('is taken: %#', (body) => {
    expect(ackSchema.parse(body)).toEqual(body);
  });

  test.each<[string, object]>([
    ['an unknown status', { status: 'success' }],
    ['a negative count', { localCounts: { users: -1 } }],
    ['a fraction of a row', { localCounts: { users: 0.5 } }],
    ['an upper-case hash', { localChecksums: { users: 'A'.repeat(64) } }],
    ['a short hash', { localChecksums: { users: 'a'.repeat(63) } }],
    ['a negative duration', { durationMs: -1 }],
    ['an error text without bounds', { error: 'x'.repeat(8193) }],
    ['a lower-case manifest id', { manifestId: ID.toLowerCase() }],
  ])('is refused with %s', (_, change) => {
    expect(ackSchema.safeParse({ ...ack, ...change }).success).toBe(false);
  });
});

test('a chunk stream’s path keeps any table name in one segment', () => {
  expect(chunkStreamPath(ID, 'users')).toBe(`/api/device-sync/manifests/${ID}/tables/users/chunks`);
  const odd = '"Odd/Schema?"."Sel#ect%2f.."';
  const segments = new URL(chunkStreamPath(ID, odd), 'http://central').pathname.split('/');
  expect(segments).toHaveLength(8);
  expect(decodeURIComponent(segments[6] as string)).toBe(odd);
});

test.each<[string | string[] | undefined, boolean]>([
  ['return=minimal', true],
  ['Return = "minimal"; foo="x", wait=10', true],
  ['respond-async, return=minimal', true],
  [['wait=1', 'return=minimal'], true],
  [undefined, false],
  ['', false],
  ['return=representation', false],
  ['return=representation, return=minimal', false],
  ['noreturn=minimal', false],
])('Prefer: %j asks for a short answer: %j', (header, expected) => {
  expect(prefersMinimal(header)).toBe(expected);
});

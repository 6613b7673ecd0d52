import { ulidSchema } from '@waypost/contracts';
import { decodeTime } from 'ulid';
import { newId } from './new-id.js';

test('ids are ULIDs of now, all different, with every character at every random place', () => {
  const before = Date.now();
  const ids = Array.from({ length: 5000 }, newId);
  expect(ids.every((id) => ulidSchema.safeParse(id).success && decodeTime(id) >= before && decodeTime(id) <= Date.now())).toBe(true);
  expect(new Set(ids).size).toBe(ids.length);
  const places = Array.from({ length: 16 }, (_, place) => new Set(ids.map((id) => id[10 + place])).size);
  expect(places).toEqual(places.map(() => 32));
});

test('an id can have the time of another moment', () => {
  expect(decodeTime(newId(1_700_000_000_000))).toBe(1_700_000_000_000);
});

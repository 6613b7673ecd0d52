import { foldedLiterals } from './moving-literals.js';

test.each([
  ["until >= 'today'", "until >= '2026-11-26'::date", ["'today'"]],
  ["until >= ' Tomorrow '", "until >= '2026-11-27'::date", ["' Tomorrow '"]],
  ["d = ANY('{today,2020-01-01}'::date[])", "d = ANY('{2026-11-26,2020-01-01}'::date[])", ["'{today,2020-01-01}'"]],
  ["d <@ '[yesterday,infinity)'::daterange", "d <@ '[2026-11-25,infinity)'::daterange", ["'[yesterday,infinity)'"]],
  ['at > $$now$$', "at > '2026-11-26 00:00:00'::timestamp", ['$$now$$']],
  ["at > E'\\x6eow'", "at > '2026-11-26 00:00:00'::timestamp", ["E'\\x6eow'"]],
  ["at > U&'\\006eow'", "at > '2026-11-26 00:00:00'::timestamp", ["U&'\\006eow'"]],
  ["status = 'now' AND at > 'now'", "status = 'now'::text AND at > '2026-11-26'::date", ["'now'"]],
  ["status = 'today'", "status = 'today'::text", []],
  ["note = 'it''s today'", "note = 'it''s today'::text", []],
  ["name = 'nowhere' AND until < 'infinity'", "name = 'nowhere'::text AND until < 'infinity'::date", []],
  ['-- \'today\'\n a = "today"', 'a = today', []],
])('%s, stored as %s, has the folded literals %j', (query, stored, literals) => {
  expect(foldedLiterals(query, stored)).toEqual(literals);
});

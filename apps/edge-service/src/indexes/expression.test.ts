import { staysWithinBrackets } from './expression.js';

test.each([
  'lower(name)',
  "((payload ->> 'a)b'::text))::integer",
  `"odd ) name" > 0`,
  "(name ~~ E'50\\\\%'::text)",
  "note <> 'it''s (fine'::text",
  '(tags)[1]',
])('%s stays within brackets', (text) => {
  expect(staysWithinBrackets(text)).toBe(true);
});

test.each([
  'a), (b',
  'a) WHERE (b',
  'a]',
  '(a]',
  '(a',
  "'a",
  '"a',
  'a; b',
  'a -- b',
  'a /* b',
  '$$a$$',
  "E'\\'' || ')' || '('",
  "U&'\\0027)'",
])('%s may leave them', (text) => {
  expect(staysWithinBrackets(text)).toBe(false);
});

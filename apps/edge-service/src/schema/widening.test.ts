import { isWidening } from './widening.js';

test.each([
  ['smallint', 'integer'],
  ['smallint', 'bigint'],
  ['integer', 'bigint'],
  ['real', 'double precision'],
  ['character varying(20)', 'character varying(21)'],
  ['character varying(20)', 'character varying'],
  ['character varying(20)', 'text'],
  ['character varying', 'text'],
  ['bit varying(3)', 'bit varying(4)'],
  ['bit varying(3)', 'bit varying'],
  ['numeric(8,2)', 'numeric(9,2)'],
  ['numeric(8,2)', 'numeric'],
  ['timestamp(3) with time zone', 'timestamp(6) with time zone'],
  ['timestamp(3) without time zone', 'timestamp without time zone'],
  ['time(0) without time zone', 'time(3) without time zone'],
  ['interval(3)', 'interval'],
])('%s may become %s, and not the reverse', (from, to) => {
  expect(isWidening(from, to)).toBe(true);
  expect(isWidening(to, from)).toBe(false);
});

test.each([
  ['integer', 'integer'],
  ['integer', 'numeric'],
  ['bigint', 'double precision'],
  ['character(2)', 'character(3)'],
  ['character varying(20)', 'character(30)'],
  ['text', 'character varying'],
  ['numeric(8,2)', 'numeric(9,3)'],
  ['numeric(8,2)', 'numeric(8,1)'],
  ['numeric(8,2)', 'numeric(9,-2)'],
  ['timestamp(3) with time zone', 'timestamp(6) without time zone'],
  ['timestamp(3) without time zone', 'time(6) without time zone'],
  ['integer[]', 'bigint[]'],
  ['date', 'timestamp without time zone'],
  ['interval day', 'interval'],
  ['public.level', 'text'],
])('%s does not become %s by itself', (from, to) => {
  expect(isWidening(from, to)).toBe(false);
});

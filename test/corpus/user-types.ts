import { type CorpusTable, moveRows } from './corpus-table.js';

/** Types that several tables use; also the two extensions, which the device must have of its own. */
export const CENTRAL_TYPES = `
  CREATE EXTENSION citext; CREATE EXTENSION hstore;
  CREATE TYPE mark AS ENUM ('yes', 'so "so", {x}', 'No');
  ALTER TYPE mark ADD VALUE 'Maybe' BEFORE 'No';
  CREATE DOMAIN even AS int CHECK (VALUE % 2 = 0);
  CREATE DOMAIN word AS text NOT NULL DEFAULT 'x' CHECK (VALUE <> '');
  CREATE DOMAIN price AS numeric(9, 2);
  CREATE DOMAIN marks AS mark[];
  CREATE TYPE pair AS (name text, n int);
  CREATE TYPE "Deep" AS (p pair, m mark, ms marks, w word, pairs pair[], "odd name" price, at timestamptz, half float8);
  CREATE DOMAIN sound_pair AS pair CHECK ((VALUE).n > 0);
  CREATE TYPE span AS RANGE (subtype = float8, subtype_diff = float8mi, multirange_type_name = "Spans");
  CREATE TYPE mark_range AS RANGE (subtype = mark);
  CREATE TYPE price_range AS RANGE (subtype = price);
  CREATE TYPE words AS RANGE (subtype = text, collation = "C");
  CREATE SCHEMA "Other Types";
  CREATE TYPE "Other Types"."Span" AS RANGE (subtype = span)`;

/** What an edge does not make by itself. */
export const EDGE_TYPES = `
  CREATE EXTENSION citext; CREATE EXTENSION hstore;
  CREATE TYPE words AS RANGE (subtype = text, collation = "C")`;

const COLUMNS: Record<string, { columns: string; rows: string }> = {
  enums: {
    columns: 'm mark, ms mark[], d marks',
    rows: `(1, 'Maybe', '{yes,NULL}', '{}'), (2, NULL, NULL, '{No}'), (3, 'yes', '{}', NULL)`,
  },
  domains: {
    columns: 'e even, w word, p price, es even[], ws word[], sp sound_pair, sps sound_pair[]',
    rows: `(1, 2, 'a', 1.50, '{2,4}', '{"a b"}', '(x,1)', '{"(x,1)"}'), (2, NULL, ' ', NULL, '{}', '{}', NULL, NULL), (3, -2, 'é', 0.00, NULL, NULL, '("",1)', '{}')`,
  },
  composites: {
    columns: 'p pair, ps pair[], d "Deep", ds "Deep"[]',
    rows: `(1, '("a, ""b""",1)', ARRAY['(a,1)', NULL, '(,)']::pair[], ROW(ROW('a', 1), 'yes', '{No}', 'w', '{"(a,1)"}', 1.5, '2026-01-02 03:04:05.678901+02', 0.1)::"Deep", '{}'),
      (2, '(,)', '{}', NULL, ARRAY[ROW(NULL, NULL, NULL, 'w', NULL, NULL, 'infinity', '-0')::"Deep"]), (3, NULL, NULL, NULL, NULL)`,
  },
  ranges: {
    columns: 's span, ss span[], sm "Spans", m mark_range, mm mark_multirange, p price_range, w words, deep "Other Types"."Span"',
    rows: `(1, '[-0,NaN]', '{"[1,2)"}', '{[0.1,0.2),(1,)}', '[yes,No)', '{[yes,Maybe)}', '[1.00,2.50]', '[A,a]', '["[1,2)","[2,3)")'),
      (2, 'empty', '{}', '{}', 'empty', '{}', '(,)', '["a, b",c)', 'empty'), (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`,
  },
  extensions: {
    columns: 'c citext, h hstore, cs citext[]',
    rows: `(1, 'ABC', 'a=>1, b=>NULL', '{A,b}'), (2, '', '', '{}'), (3, NULL, NULL, NULL)`,
  },
};

export const USER_TYPES: CorpusTable[] = Object.entries(COLUMNS).map(([group, { columns, rows }]) => ({
  name: `user_${group}`,
  create: `CREATE TABLE user_${group} (id int PRIMARY KEY, ${columns}); INSERT INTO user_${group} VALUES ${rows}`,
  change: moveRows(`user_${group}`),
}));

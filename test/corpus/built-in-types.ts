import { type CorpusTable, moveRows } from './corpus-table.js';

/** Columns, and rows behind their id. The last row of each is NULL in all columns. */
const TYPES: Record<string, { columns: string; rows: string }> = {
  numbers: {
    columns:
      'i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric, scaled numeric(20, 5), rounded numeric(5, -2), m money, o oid, b bool',
    rows: `
      (1, -32768, -2147483648, -9223372036854775808, '-0', '-0', 'NaN', 0, 12345, '-92233720368547758.08', 0, true),
      (2, 32767, 2147483647, 9223372036854775807, 'NaN', 'NaN', 'Infinity', 1.5, 49, '92233720368547758.07', 4294967295, false),
      (3, 0, 0, 0, 'Infinity', '-Infinity', '-Infinity', -99999.99999, 9999949, 0, 1, true),
      (4, 1, 1, 1, '1e-45', '5e-324', '1.0', 1, 50, 0.01, 2, true),
      (5, 1, 1, 1, '3.4028235e38', '1.7976931348623157e308', '1.000', 1, 51, 0.1, 3, true),
      (6, 1, 1, 1, 0.1, 0.1::float8 + 0.2, '-0.000', 1, 150, 1, 4, false),
      (7, 1, 1, 1, 1, 1, (repeat('9', 1000) || '.' || repeat('0', 999) || '1')::numeric, 1, 0, 1, 5, NULL),
      (8, 1, 1, 1, 1, 1, '1e-1000', 1, 0, 1, 6, NULL)`,
  },
  times: {
    columns:
      'd date, t time, t0 time(0), tz timetz, ts timestamp, ts3 timestamp(3), tstz timestamptz, i interval, months interval year to month',
    rows: `
      (1, '4713-01-01 BC', '00:00', '12:00', '00:00+15:59', '4714-11-24 00:00:00 BC', '2026-01-01', '4714-11-24 00:00:00+00 BC', '-178000000 years', '1-2'),
      (2, '5874897-12-31', '24:00', '24:00', '24:00-15:59', '294276-12-31 23:59:59.999999', '2026-01-01 00:00:00.9996', '294276-12-31 23:59:59.999999+00', '178000000 years', '-1-2'),
      (3, 'infinity', '23:59:59.999999', '00:00', '12:00+00', 'infinity', 'infinity', 'infinity', '1 mon -2 days +03:04:05.678901', '0'),
      (4, '-infinity', '00:00:00.000001', '00:00', '12:00+05:30', '-infinity', '-infinity', '-infinity', '24:00:00', '12 months'),
      (5, '2000-02-29', '12:34:56.789012', '12:34:56', '12:34:56.789012-03', '2026-03-29 02:30:00.000001', '1999-12-31 23:59:59.9999', '2026-10-25 02:30:00+02', '1 day', '1 year'),
      (6, '0001-12-31 BC', '12:00', '12:00', '12:00-12:00:01', '0001-12-31 BC', '0044-03-15 BC', '0044-03-15 BC', '-00:00:00.000001', NULL)`,
  },
  texts: {
    columns: 'x text, v varchar(5), c char(5), q "char", n name, b bytea',
    rows: `
      (1, '', '', '', '', '', ''),
      (2, E'tab\\t lf\\n cr\\r bs\\b vt\\013 nul\\\\0 \\\\N \\\\.', E'\\\\N', 'a', E'\\\\', 'a', '\\x00'),
      (3, E'\\\\.', '  a  ', ' a   ', ' ', '"quoted"', '\\x5c4e0a09'),
      (4, U&'\\00e9 e\\0301 \\+01F600 \\+10FFFF \\0001 \\FEFF \\FFFF', 'äöüß€', 'äöüß€', 'z', 'größe', '\\xdeadbeef'),
      (5, repeat('x', 100000), '12345', '12345', '1', repeat('n', 63), decode(repeat('00ff', 50000), 'hex')),
      (6, 'NULL', 'null', '"', '''', 'null', convert_to('NULL', 'UTF8'))`,
  },
  documents: {
    columns: 'j json, jb jsonb, x xml, p jsonpath, v tsvector, q tsquery',
    rows: `
      (1, ' {"b" : 1.0,  "a":1, "a":2} ', ' {"b" : 1.0,  "a":1, "a":2} ', '<a b="1">t</a>', '$.a[*] ? (@ > 1)', 'a:1A b:2,3', 'a & !b'),
      (2, E'{\\n"n":123456789012345678901234567890.10}', '{"n":123456789012345678901234567890.10}', 'text <b/> only', 'strict $', '', 'a <-> b'),
      (3, '"\\ud83d\\ude00 \\u00e9 \\\\ / \\/"', '"\\ud83d\\ude00 \\u00e9 \\\\ / \\/"', '', 'lax $.**', 'é', '''a b'':*A'),
      (4, 'null', 'null', '<!-- c --><a/>', '$."a b"', '''a b''', ''),
      (5, '[]', '{}', '<a>é</a>', '$', 'a', 'a')`,
  },
  oddities: {
    columns:
      'u uuid, ip inet, net cidr, mac macaddr, mac8 macaddr8, bits bit(5), varbits varbit, lsn pg_lsn, x xid, x8 xid8, c cid, t tid, s pg_snapshot, ts txid_snapshot, i2 int2vector, ov oidvector, r refcursor',
    rows: `
      (1, '00000000-0000-0000-0000-000000000000', '0.0.0.0/0', '0.0.0.0/0', '00:00:00:00:00:00', '00:00:00:00:00:00:00:00', '00000', '', '0/0', '0', '0', '0', '(0,0)', '1:1:', '1:1:', '', '', ''),
      (2, 'ffffffff-ffff-ffff-ffff-ffffffffffff', '::ffff:1.2.3.4/128', '2001:db8::/32', 'ff:ff:ff:ff:ff:ff', 'ff:ff:ff:ff:ff:ff:ff:ff', '11111', '1', 'FFFFFFFF/FFFFFFFF', '4294967295', '18446744073709551615', '4294967295', '(4294967295,65535)', '10:20:10,14,15', '10:20:10,14,15', '1 2', '1 4294967295', 'cursor'),
      (3, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '192.168.1.5', '192.168.0.0/16', '48:b0:2d:e9:c3:b7', '48:b0:2d:ff:fe:e9:c3:b7', '10101', '1010101010101', '16/B374D848', '3', '5000000000', '7', '(1,2)', '1:1:', '1:1:', '3', '3', 'c')`,
  },
  geometry: {
    columns: 'p point, l line, s lseg, b box, pa path, po polygon, c circle',
    rows: `
      (1, '(0,-0)', '{1,-1,0}', '[(0,0),(1,1)]', '(2,2),(0,0)', '[(0,0),(1,1)]', '((0,0),(1,1),(2,0))', '<(0,0),5>'),
      (2, '(NaN,Infinity)', '{0,-1,0.1}', '[(1e300,1),(0.1,1)]', '(0,0),(0,0)', '((0,0),(1,1))', '((0.1,0.2))', '<(1,2),0>'),
      (3, '(1e-300,0.1)', '{1,0,5}', '[(0,0),(0,0)]', '(-1,-1),(-2,-2)', '[(1,2)]', '((1,1))', '<(-1,-1),0.1>')`,
  },
  ranges: {
    columns:
      'i4 int4range, i8 int8range, n numrange, t tsrange, tz tstzrange, d daterange, mi int4multirange, mn nummultirange, mt tstzmultirange, md datemultirange',
    rows: `
      (1, 'empty', '(,)', '[1.0,1.00]', '[2026-01-01,infinity)', '[,2026-01-01 00:00:00.000001+02)', '[2026-01-01,2026-01-31]', '{}', '{[1.0,2.00),(3,)}', '{(,)}', '{[2026-01-01,2026-01-02)}'),
      (2, '[1,1]', '[1,)', '(1,2]', 'empty', '[-infinity,infinity]', '(,0044-03-15 BC)', '{[1,3),[5,7)}', '{}', '{[2026-01-01,2026-02-01),[2027-01-01,)}', '{}'),
      (3, '(,5)', 'empty', 'empty', '(,)', 'empty', 'empty', '{(,)}', '{[-1,1]}', '{}', '{(,2026-01-01),[2027-01-01,infinity)}')`,
  },
  arrays: {
    columns:
      'i int[], t text[], tt text[][], n numeric[], ts timestamptz[], j jsonb[], b bytea[], r int4range[], o oid[], c "char"[], v varchar(3)[], bo bool[], d date[], f float8[]',
    rows: `
      (1, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}'),
      (2, '{1,NULL,-3}', '{"a,b","\\"q\\"",NULL,"NULL","","\\\\\\\\"}', '{{a,b},{c,NULL}}', '{1.0,1.00,NaN}', '{2026-01-01 00:00:00.000001+02,infinity}', ARRAY['{"a": [1, 2.0]}'::jsonb, NULL], ARRAY['\\x00ff'::bytea], '{"[1,3)",empty}', '{4294967295}', '{a}', '{abc,"{}"}', '{t,f,NULL}', '{"0044-03-15 BC"}', '{-0,NaN,1e-300}'),
      (3, '[0:2]={1,2,3}', '[-1:0]={a,b}', '[2:3][4:4]={{a},{b}}', '[5:5]={0.10}', NULL, NULL, '{}', NULL, NULL, NULL, NULL, NULL, NULL, '{Infinity}')`,
  },
};

function widthOf(columns: string): number {
  return columns.replace(/\([^)]*\)/g, '').split(',').length;
}

/** Each group of types once in binary rows and once, beside an array of an enum, in text rows. */
export const BUILT_IN_TYPES: CorpusTable[] = Object.entries(TYPES).flatMap(([group, { columns, rows }]) => {
  const nulls = `(99${', NULL'.repeat(widthOf(columns))})`;
  return [
    {
      name: `types_${group}`,
      create: `CREATE TABLE types_${group} (id int PRIMARY KEY, ${columns}); INSERT INTO types_${group} VALUES ${rows}, ${nulls}`,
      change: moveRows(`types_${group}`),
    },
    {
      name: `text_${group}`,
      create: `CREATE TABLE text_${group} (LIKE types_${group} INCLUDING ALL, marks mark[]);
        INSERT INTO text_${group} SELECT *, CASE WHEN id < 5 THEN ARRAY['yes', NULL, 'so "so", {x}']::mark[] END FROM types_${group}`,
      change: moveRows(`text_${group}`),
    },
  ];
});

/** Names of what every PostgreSQL has: as numbers they would differ from server to server. */
export const OBJECT_NAMES: CorpusTable = {
  name: 'object_names',
  create: `CREATE TABLE object_names (id int PRIMARY KEY, c regclass, t regtype, p regprocedure, n regnamespace, ts regconfig, cs regtype[]);
    INSERT INTO object_names VALUES (1, 'pg_class', 'int', 'lower(text)', 'pg_catalog', 'simple', '{text,"timestamp with time zone"}'),
      (2, NULL, 'text[]', NULL, NULL, NULL, '{}'), (3, NULL, NULL, NULL, NULL, NULL, NULL)`,
  change: moveRows('object_names'),
};

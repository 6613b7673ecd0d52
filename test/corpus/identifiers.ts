import { type CorpusTable, moveRows } from './corpus-table.js';

const LONG = 'l'.repeat(63);
/** 21 characters of 3 bytes. */
const LONG_UNICODE = '表'.repeat(21);

function table(name: string, schema?: string): CorpusTable {
  return {
    name,
    create: `${schema ? `CREATE SCHEMA IF NOT EXISTS ${schema};` : ''}
      CREATE TABLE ${name} (id int PRIMARY KEY, "select" int, "Ünïcode" text, "with ""quotes"" and spaces" text, "a.b" int, "${LONG_UNICODE}" text);
      INSERT INTO ${name} SELECT g, g, 'ü', '"', g, 'x' FROM generate_series(1, 5) g`,
    change: moveRows(name),
  };
}

export const IDENTIFIERS: CorpusTable[] = [
  table('"select"'),
  table('"UPPER"'),
  table('"Mixed Case"."Table"', '"Mixed Case"'),
  table('"größe"."表"', '"größe"'),
  table('größe.naïve', '"größe"'),
  table('"with ""quotes"" / % ? # & \\ : ;"'),
  table(`"order"."${LONG}"`, '"order"'),
  table(`"${LONG_UNICODE}"."${LONG_UNICODE}"`, `"${LONG_UNICODE}"`),
  table(`" "."."`, '" "'),
  {
    name: '"Mixed Case"."Types"',
    create: `CREATE TYPE "Mixed Case"."Enum ""x""" AS ENUM ('a', '');
      CREATE TYPE "Mixed Case"."${LONG}" AS ENUM ('a');
      CREATE DOMAIN "Mixed Case"."select" AS "Mixed Case"."Enum ""x"""[];
      CREATE TABLE "Mixed Case"."Types" (id int PRIMARY KEY, "e" "Mixed Case"."Enum ""x""", es "Mixed Case"."select", l "Mixed Case"."${LONG}"[]);
      INSERT INTO "Mixed Case"."Types" VALUES (1, 'a', '{a,""}', '{a}'), (2, '', '{}', NULL), (3, NULL, NULL, '{NULL}')`,
    change: moveRows('"Mixed Case"."Types"'),
  },
];

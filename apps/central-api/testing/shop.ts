/** Devices at the usual addresses of the shop, for tests that need a small database with everything in it. */
export const SHOP_1 = '02:00:00:00:00:01';
/** Of the same shop as SHOP_1. */
export const SHOP_1_TWIN = '02:00:00:00:00:11';
export const SHOP_2 = '02:00:00:00:00:02';
export const INACTIVE = '02:00:00:00:00:03';
export const AMBIGUOUS = '02:00:00:00:00:04';

/** Two shops with accounts, an empty table, and names that SQL and URLs must quote. */
export const SHOP_SCHEMA = `
  CREATE TYPE mood AS ENUM ('good', 'bad');
  CREATE SCHEMA "Odd/Schema?";
  CREATE TABLE devices (mac macaddr, shop int, active boolean NOT NULL DEFAULT true);
  INSERT INTO devices VALUES ('${SHOP_1}', 1), ('${SHOP_1_TWIN}', 1), ('${SHOP_2}', 2), ('${AMBIGUOUS}', 1), ('${AMBIGUOUS}', 2);
  INSERT INTO devices VALUES ('${INACTIVE}', 1, false);
  CREATE TABLE accounts (id bigint PRIMARY KEY, shop int NOT NULL, owner text NOT NULL, balance numeric NOT NULL, mood mood);
  INSERT INTO accounts SELECT id, 1 + id % 2, 'owner ' || id, 100, CASE WHEN id % 3 = 0 THEN 'good'::mood END FROM generate_series(1, 3000) AS id;
  CREATE TABLE vaults (id int PRIMARY KEY, shop int NOT NULL, balance numeric NOT NULL);
  INSERT INTO vaults VALUES (1, 1, 1000), (2, 2, 1000);
  CREATE TABLE nothing (id int PRIMARY KEY);
  CREATE TABLE "Odd/Schema?"."Sel#ect %2f" (r text PRIMARY KEY, doc json, odd double precision, big numeric, moods mood[]);
  INSERT INTO "Odd/Schema?"."Sel#ect %2f" VALUES
    ('a', E'{"b" :\\n 1,\\r\\n"b": 2}', 'NaN', 12345678901234567890.12345678901234567890, '{good,bad}'),
    (E'line\\nbreak "quote" \\\\ 😀', '"text with \\\\n escapes"', '-Infinity', 'NaN', NULL),
    ('é', NULL, 1e-300, NULL, '{}');`;

export const ODD_TABLE = '"Odd/Schema?"."Sel#ect %2f"';

export const SHOP_PLAN = `
version: 1
schemaVersion: 3
scope:
  query: SELECT shop, active FROM devices WHERE mac = :mac
tables:
  - name: accounts
    where: shop = :shop
  - name: vaults
    where: shop = :shop
  - name: nothing
  - name: '${ODD_TABLE}'
`;

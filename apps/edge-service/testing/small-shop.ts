/** Tables of the tests: enough rows for several chunks, a parent and a child, a text key, an enum, values that JSON would lose. */
export const SHOP_TABLES = ['users', 'orders', '"Odd ""Names""".places'];

export const CREATE_SHOP = `
  CREATE TYPE mood AS ENUM ('fine', 'so so', 'it''s bad');
  CREATE TABLE users (id bigint PRIMARY KEY, email text NOT NULL, mood mood, balance numeric, seen timestamptz, raw bytea, tags text[]);
  INSERT INTO users
  SELECT g, md5(g::text) || '@example.com', (ARRAY['fine', 'so so', 'it''s bad', NULL])[1 + g % 4]::mood, g / 7.0,
         '2024-02-29 12:34:56.789012+00'::timestamptz + g * interval '1 microsecond', decode(md5(g::text), 'hex'), ARRAY['a', g::text, NULL]
  FROM generate_series(1, 1500) g;
  CREATE TABLE orders (user_id bigint NOT NULL, n int NOT NULL, total double precision, PRIMARY KEY (user_id, n));
  INSERT INTO orders SELECT g, n, CASE WHEN g % 10 = 0 THEN 'NaN' ELSE g / 3.0 END FROM generate_series(1, 1000) g, generate_series(1, 2) n;
  CREATE SCHEMA "Odd ""Names""";
  CREATE TABLE "Odd ""Names""".places ("Place Name" text PRIMARY KEY, "select" mood[], doubled int GENERATED ALWAYS AS (length("Place Name") * 2) STORED);
  INSERT INTO "Odd ""Names""".places SELECT 'Ort ä' || g || 'Z', ARRAY['fine', 'it''s bad']::mood[] FROM generate_series(1, 40) g;
  INSERT INTO "Odd ""Names""".places SELECT 'ort ' || g FROM generate_series(1, 40) g;`;

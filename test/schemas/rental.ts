import {
  ASIDE,
  type ApplicationSchema,
  LAST_UPDATED,
  lastUpdatedTriggers,
  OTHER_SHOP,
  rotate,
  sample,
  SHOP,
} from './application-schema.js';

const PARTITIONS = ['2022_01', '2022_02', '2022_03'] as const;
const START = "'2022-01-01 00:00:00+00'::timestamptz";

/** As Pagila's: each partition of `payment` has foreign keys and indexes of its own, the root has none. */
const TABLES = `
  CREATE TABLE customer (customer_id int PRIMARY KEY, shop int NOT NULL, email text UNIQUE, active boolean NOT NULL DEFAULT true,
    last_update timestamptz NOT NULL DEFAULT now());
  CREATE TABLE staff (staff_id int PRIMARY KEY, shop int NOT NULL, username text NOT NULL UNIQUE, last_update timestamptz NOT NULL DEFAULT now());
  CREATE TABLE rental (rental_id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customer ON UPDATE CASCADE ON DELETE RESTRICT,
    staff_id int REFERENCES staff ON UPDATE CASCADE ON DELETE SET NULL, rental_date timestamptz NOT NULL,
    last_update timestamptz NOT NULL DEFAULT now(), UNIQUE (rental_date, customer_id));
  CREATE TABLE payment (payment_id int NOT NULL, customer_id int NOT NULL, staff_id int, rental_id int, amount numeric(7, 2) NOT NULL,
    payment_date timestamptz NOT NULL, PRIMARY KEY (payment_date, payment_id)) PARTITION BY RANGE (payment_date);
  ${PARTITIONS.map(
    (month, at) => `
  CREATE TABLE payment_p${month} (payment_date timestamptz NOT NULL, amount numeric(7, 2) NOT NULL, payment_id int NOT NULL, rental_id int,
    customer_id int NOT NULL, staff_id int);
  ALTER TABLE payment ATTACH PARTITION payment_p${month} FOR VALUES FROM ('2022-0${at + 1}-01 00:00:00+00') TO ('2022-0${at + 2}-01 00:00:00+00');
  CREATE INDEX ON payment_p${month} (customer_id);
  ALTER TABLE payment_p${month} ADD FOREIGN KEY (customer_id) REFERENCES customer ON UPDATE CASCADE,
    ADD FOREIGN KEY (staff_id) REFERENCES staff ON UPDATE CASCADE ON DELETE SET NULL, ADD FOREIGN KEY (rental_id) REFERENCES rental ON UPDATE CASCADE ON DELETE SET NULL;`,
  ).join('')}`;

const mine = (table: string): string => `EXISTS (SELECT FROM customer c WHERE c.customer_id = ${table}.customer_id AND c.shop = :shop)`;
const someOf = (table: string): string => `${table} WHERE customer_id IN (SELECT customer_id FROM customer WHERE shop = ${SHOP})`;

export const RENTAL: ApplicationSchema = {
  name: 'rentals whose payments are partitioned',
  central: `${TABLES} ${ASIDE} ${LAST_UPDATED}
    INSERT INTO customer SELECT g, 1 + g % 2, 'c' || g || '@example.com' FROM generate_series(1, 60) g;
    INSERT INTO staff SELECT g, 1 + g % 2, 'staff ' || g FROM generate_series(1, 6) g;
    INSERT INTO rental SELECT g, 1 + g % 60, 1 + g % 6, ${START} + g * interval '7 hours' FROM generate_series(1, 240) g;
    INSERT INTO payment (payment_id, customer_id, staff_id, rental_id, amount, payment_date)
      SELECT g, 1 + g % 60, 1 + g % 6, g, g / 7.0, ${START} + g * interval '7 hours' FROM generate_series(1, 240) g;
    ${lastUpdatedTriggers('customer', 'staff', 'rental')}
    CREATE VIEW customer_list AS SELECT customer_id AS id, email, active FROM customer WHERE shop = ${SHOP};`,
  tables: [
    { name: 'customer', where: 'shop = :shop' },
    { name: 'staff' },
    { name: 'rental', where: mine('rental') },
    { name: 'payment', where: mine('payment') },
  ],
  device: TABLES,
  own: `
    CREATE TABLE receipts (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payment_date timestamptz, payment_id int,
      FOREIGN KEY (payment_date, payment_id) REFERENCES payment_p2022_02 (payment_date, payment_id) ON UPDATE CASCADE ON DELETE CASCADE);
    CREATE TABLE payment_notes (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payment_date timestamptz, payment_id int,
      FOREIGN KEY (payment_date, payment_id) REFERENCES payment ON DELETE SET NULL);
    CREATE TABLE loyalty (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id int REFERENCES customer ON UPDATE CASCADE ON DELETE SET NULL);
    CREATE TABLE mailings (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text REFERENCES customer (email) ON UPDATE CASCADE ON DELETE CASCADE);
    CREATE TABLE rental_notes (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, rental_id int REFERENCES rental);`,
  ownTables: ['receipts', 'payment_notes', 'loyalty', 'mailings', 'rental_notes'],
  addOwnRows: (random) => `
    INSERT INTO receipts (payment_id, payment_date) SELECT * FROM ${sample(random, 'payment_p2022_02', 'payment_id, payment_date', 2)} t;
    INSERT INTO payment_notes (payment_id, payment_date) SELECT * FROM ${sample(random, 'payment', 'payment_id, payment_date', 1)} t;
    INSERT INTO loyalty (customer_id) SELECT * FROM ${sample(random, 'customer', 'customer_id', 2)} t;
    INSERT INTO mailings (email) SELECT * FROM ${sample(random, 'customer', 'email', 1)} t;
    INSERT INTO rental_notes (rental_id) SELECT * FROM ${sample(random, 'rental', 'rental_id', 1)} t`,
  changes: [
    (random) => rotate(random, { table: 'customer', key: 'customer_id', columns: ['email'], count: 2 + random.below(3) }),
    (random) => rotate(random, { table: 'staff', key: 'staff_id', columns: ['username'], count: 2 }),
    (random) =>
      `UPDATE customer SET customer_id = ${1000 + random.below(100_000)} WHERE customer_id IN ${sample(random, 'customer', 'customer_id', 1)}`,
    (random) =>
      `UPDATE customer SET shop = ${OTHER_SHOP} WHERE customer_id IN ${sample(random, `customer WHERE shop = ${SHOP}`, 'customer_id', 1)}`,
    (random) =>
      `UPDATE customer SET shop = ${SHOP} WHERE customer_id IN ${sample(random, `customer WHERE shop = ${OTHER_SHOP}`, 'customer_id', 2)}`,
    (random) =>
      `UPDATE customer_list SET active = NOT active, email = NULLIF(email, email || '${random.below(2) ? '' : '!'}') WHERE id % 7 = ${random.below(7)}`,
    (random) =>
      `UPDATE customer SET email = 'c' || customer_id || '@${random.below(1000)}.example' WHERE email IS NULL OR customer_id % 11 = ${random.below(11)}`,
    (random) => `DELETE FROM rental WHERE rental_id IN ${sample(random, someOf('rental'), 'rental_id', 3)}`,
    (random) => `DELETE FROM payment WHERE payment_id IN ${sample(random, someOf('payment'), 'payment_id', 3)}`,
    (random) => `DELETE FROM staff WHERE staff_id IN ${sample(random, 'staff', 'staff_id', 1)}`,
    (random) => `UPDATE staff SET staff_id = ${1000 + random.below(100_000)} WHERE staff_id IN ${sample(random, 'staff', 'staff_id', 1)}`,
    // From one partition to another.
    (
      random,
    ) => `UPDATE payment SET payment_date = '2022-01-01 00:00:00+00'::timestamptz + ${random.below(80)} * interval '1 day' + payment_id * interval '1 second'
      WHERE payment_id IN ${sample(random, someOf('payment'), 'payment_id', 4)}`,
    (random) =>
      `UPDATE payment_p2022_02 SET amount = amount + 1 WHERE payment_id IN ${sample(random, someOf('payment_p2022_02'), 'payment_id', 5)}`,
    (random) =>
      `SET LOCAL session_replication_role = replica; UPDATE payment SET amount = amount + 0.01 WHERE payment_id % 13 = ${random.below(13)}`,
    (random) => `
      CREATE TEMPORARY TABLE held ON COMMIT DROP AS SELECT * FROM payment_p2022_03;
      TRUNCATE payment_p2022_03; INSERT INTO payment_p2022_03 SELECT * FROM held WHERE payment_id % 9 <> ${random.below(9)}; DROP TABLE held`,
    (random) => `
      MERGE INTO customer AS c USING (SELECT g, 'm' || g || '@example.com' AS email FROM generate_series(${1 + random.below(60)}, 62) g LIMIT 5) AS s ON c.customer_id = s.g
      WHEN MATCHED AND c.shop = ${SHOP} THEN UPDATE SET email = s.email WHEN MATCHED THEN DO NOTHING
      WHEN NOT MATCHED THEN INSERT (customer_id, shop, email) VALUES (s.g, ${SHOP}, s.email)`,
    (random) => `
      WITH n AS (SELECT coalesce(max(payment_id), 0) + 1 AS id FROM payment), c AS ${sample(random, `customer WHERE shop = ${SHOP}`, 'customer_id', 3)}
      INSERT INTO payment (payment_id, customer_id, amount, payment_date)
      SELECT n.id + row_number() OVER (), c.customer_id, 3.50, '2022-02-10 00:00:00+00'::timestamptz + ${random.below(30)} * interval '1 day' FROM n, c`,
  ],
};

import { ASIDE, type ApplicationSchema, OTHER_SHOP, rotate, sample, SHOP } from './application-schema.js';

const seats = (serial: string): string => `
  CREATE TABLE seats (id int PRIMARY KEY, shop int NOT NULL, label text NOT NULL UNIQUE, priority int NOT NULL UNIQUE, place int UNIQUE,
    line int NOT NULL, seat int NOT NULL, serial ${serial}, area int GENERATED ALWAYS AS (line * 100 + seat) STORED, UNIQUE (line, seat));
  CREATE TABLE tickets (id int PRIMARY KEY, seat_label text REFERENCES seats (label) ON UPDATE CASCADE ON DELETE CASCADE,
    seat_id int NOT NULL REFERENCES seats ON UPDATE CASCADE ON DELETE CASCADE, code text NOT NULL UNIQUE);
  CREATE TABLE scans (ticket_id int REFERENCES tickets ON UPDATE CASCADE ON DELETE CASCADE, n int, note text, PRIMARY KEY (ticket_id, n));`;

const mySeats = `seats WHERE shop = ${SHOP}`;
const myTickets = `tickets WHERE seat_id IN (SELECT id FROM ${mySeats})`;

/** Several unique columns, of which rows swap values; on the device a column that PostgreSQL can only insert. */
export const SEATING: ApplicationSchema = {
  name: 'seats that swap unique values, with an identity column on the device',
  central: `${seats('int NOT NULL')} ${ASIDE}
    INSERT INTO seats SELECT g, 1 + g % 2, 'seat ' || g, g, CASE WHEN g % 10 > 0 THEN g END, g / 10, g % 10, g * 2 FROM generate_series(1, 60) g;
    INSERT INTO tickets SELECT g, CASE WHEN g % 4 > 0 THEN 'seat ' || 1 + g % 60 END, 1 + g % 60, 'code ' || g FROM generate_series(1, 150) g;
    INSERT INTO scans SELECT id, n, 'scan' FROM tickets, generate_series(1, 2) n`,
  tables: [
    { name: 'seats', where: 'shop = :shop' },
    { name: 'tickets', where: 'EXISTS (SELECT FROM seats s WHERE s.id = seat_id AND s.shop = :shop)' },
    { name: 'scans', where: 'EXISTS (SELECT FROM tickets t JOIN seats s ON s.id = t.seat_id WHERE t.id = ticket_id AND s.shop = :shop)' },
  ],
  device: seats('int NOT NULL GENERATED ALWAYS AS IDENTITY'),
  own: `
    CREATE TABLE cushions (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, seat_id int REFERENCES seats ON UPDATE CASCADE ON DELETE CASCADE);
    CREATE TABLE repairs (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, line int, seat int, FOREIGN KEY (line, seat) REFERENCES seats (line, seat) ON UPDATE CASCADE ON DELETE SET NULL);
    CREATE TABLE signs (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, label text REFERENCES seats (label));
    CREATE TABLE queues (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, priority int REFERENCES seats (priority) ON UPDATE SET NULL ON DELETE SET NULL);
    CREATE TABLE checks (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, ticket_id int REFERENCES tickets ON DELETE SET NULL);`,
  ownTables: ['cushions', 'repairs', 'signs', 'queues', 'checks'],
  addOwnRows: (random) => `
    INSERT INTO cushions (seat_id) SELECT * FROM ${sample(random, 'seats', 'id', 2)} t;
    INSERT INTO repairs (line, seat) SELECT * FROM ${sample(random, 'seats', 'line, seat', 1)} t;
    INSERT INTO signs (label) SELECT * FROM ${sample(random, 'seats', 'label', 1)} t;
    INSERT INTO queues (priority) SELECT * FROM ${sample(random, 'seats', 'priority', 1)} t;
    INSERT INTO checks (ticket_id) SELECT * FROM ${sample(random, 'tickets', 'id', 2)} t`,
  changes: [
    (random) => rotate(random, { table: 'seats', key: 'id', columns: ['label'], count: 2 + random.below(4) }),
    (random) => rotate(random, { table: 'seats', key: 'id', columns: ['priority'], count: 2 + random.below(4) }),
    (random) => rotate(random, { table: 'seats', key: 'id', columns: ['place'], count: 2 + random.below(2) }),
    (random) => rotate(random, { table: 'seats', key: 'id', columns: ['line', 'seat'], count: 2 + random.below(2) }),
    (random) => rotate(random, { table: 'seats', key: 'id', columns: ['label', 'priority', 'place'], count: 3 }),
    // Along a chain without a circle: the last takes a value that no row has.
    (random) =>
      `UPDATE seats SET priority = priority + 1000 WHERE shop = ${SHOP}; UPDATE seats SET priority = priority - ${999 - random.below(2)} WHERE shop = ${SHOP}`,
    (random) => `UPDATE seats SET place = NULL WHERE id IN ${sample(random, mySeats, 'id', 2)}`,
    (random) => `UPDATE seats SET serial = serial + 1 WHERE id IN ${sample(random, mySeats, 'id', 3)}`,
    (random) => `DELETE FROM seats WHERE id IN ${sample(random, mySeats, 'id', 1)}`,
    (random) => `UPDATE seats SET id = ${1000 + random.below(100_000)} WHERE id IN ${sample(random, mySeats, 'id', 1)}`,
    (random) => `UPDATE seats SET shop = ${SHOP} + ${OTHER_SHOP} - shop WHERE id IN ${sample(random, 'seats', 'id', 2)}`,
    (random) => `UPDATE tickets SET code = 'x ' || id WHERE id IN ${sample(random, myTickets, 'id', 2)}`,
    (random) => `UPDATE tickets SET id = ${1000 + random.below(100_000)} WHERE id IN ${sample(random, myTickets, 'id', 1)}`,
    (random) => `DELETE FROM tickets WHERE id IN ${sample(random, myTickets, 'id', 2)}`,
    (random) => `WITH gone AS (DELETE FROM seats WHERE id IN ${sample(random, mySeats, 'id', 1)} RETURNING *)
      INSERT INTO seats (id, shop, label, priority, place, line, seat, serial) SELECT id + 500, shop, label || '+', priority + 5000, place + 5000, line + 500, seat, serial FROM gone`,
  ],
};

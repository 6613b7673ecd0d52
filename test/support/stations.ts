import type { SharedTable } from './state-history.js';

/** Of the device under test; the other site's rows must never reach it. */
export const SITE_ID = 1;

/** A parent and a child, a text key, and a table of all sites: enough rows for several chunks, few enough for a cycle in a moment. */
export const STATION_TABLES: readonly SharedTable[] = [
  { name: 'stations', key: 'id', where: 'site_id = :site_id' },
  { name: 'readings', key: 'station_id, n', where: 'station_id IN (SELECT id FROM stations WHERE site_id = :site_id)' },
  { name: 'notes', key: 'title COLLATE "C"' },
];

export const CREATE_STATIONS = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY, site_id int NOT NULL);
  INSERT INTO devices VALUES ('48:b0:2d:e9:c3:b7', ${SITE_ID});
  CREATE TABLE stations (id int PRIMARY KEY, site_id int NOT NULL, name text, generation int NOT NULL DEFAULT 0);
  INSERT INTO stations SELECT g, 1 + g % 2, 'station ' || g FROM generate_series(1, 200) g;
  CREATE TABLE readings (station_id int REFERENCES stations ON UPDATE CASCADE ON DELETE CASCADE, n int, value numeric, raw bytea, PRIMARY KEY (station_id, n));
  INSERT INTO readings SELECT s, n, s * n / 7.0, decode(md5(s || '/' || n), 'hex') FROM generate_series(1, 200) s, generate_series(1, 30) n;
  CREATE TABLE notes (title text PRIMARY KEY, body text, generation int NOT NULL DEFAULT 0);
  INSERT INTO notes SELECT md5(g::text), repeat(md5('body' || g), 3) FROM generate_series(1, 1000) g`;

/** Changes each of the tables, so that a reader who sees a part of it is found out. */
export function changeAll(generation: number): string {
  return `
    UPDATE stations SET generation = ${generation};
    UPDATE readings SET value = value + 1 WHERE n % 7 = ${generation % 7};
    DELETE FROM readings WHERE n = ${1 + (generation % 30)};
    INSERT INTO readings SELECT id, ${1000 + generation}, ${generation} / 3.0, NULL FROM stations WHERE id % 5 = ${generation % 5};
    UPDATE notes SET title = md5('${generation}' || title) WHERE title < '4';
    UPDATE notes SET generation = ${generation} WHERE title > 'c'`;
}

/** Changes one row: most chunks of its table stay as they are. */
export function changeOne(generation: number): string {
  return `UPDATE notes SET generation = ${generation} WHERE title = (SELECT min(title COLLATE "C") FROM notes)`;
}

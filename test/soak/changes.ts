import type { Random } from '../../scripts/fleet/random.js';

/** About one row in `n`, others for each salt. */
const some = (key: string, n: number, salt: number): string => `abs(hashtext(${key}::text || '/${salt}')) % ${n} = 0`;

type Change = (random: Random, salt: number) => string;

/** What people do to central's tables; each SQL is one transaction. Deletions outweigh insertions where tables have grown. */
const CHANGES: Readonly<Record<string, Change>> = {
  'insert stations': (random, salt) => `
    INSERT INTO stations SELECT ${salt * 100} + g, 1 + g % 2, 'new ' || g, ${salt} FROM generate_series(1, ${1 + random.below(20)}) g
    ON CONFLICT DO NOTHING`,
  'insert readings': (random, salt) => `
    INSERT INTO readings SELECT id, ${salt} + 100, '1.00', decode(md5(id || '/${salt}'), 'hex') FROM stations WHERE ${some('id', 1 + random.below(4), salt)}
    ON CONFLICT DO NOTHING`,
  'insert notes': (random, salt) => `
    INSERT INTO notes SELECT md5('${salt}/' || g), CASE WHEN g % 5 > 0 THEN repeat(md5(g::text), g % 9) END, ${salt}
    FROM generate_series(1, ${1 + random.below(300)}) g ON CONFLICT DO NOTHING`,
  'one row': (_random, salt) => `UPDATE notes SET body = 'ä “${salt}”' || chr(10) || '\\N' WHERE title = (SELECT min(title) FROM notes)`,
  'update readings': (random, salt) => `UPDATE readings SET value = value + 1 WHERE ${some('(station_id, n)', 2 + random.below(50), salt)}`,
  'other bytes of equal values': (_random, salt) => `
    UPDATE readings SET value = CASE scale(value) WHEN 0 THEN value * 1.0 ELSE trim_scale(value) END WHERE ${some('(station_id, n)', 9, salt)}`,
  'update everything': (_random, salt) => `UPDATE stations SET generation = ${salt}; UPDATE notes SET generation = ${salt}`,
  'delete readings': (random, salt) => `DELETE FROM readings WHERE ${some('(station_id, n)', 2 + random.below(9), salt)}`,
  'delete stations': (random, salt) => `DELETE FROM stations WHERE ${some('id', 5 + random.below(30), salt)}`,
  'delete notes': (random, salt) => `DELETE FROM notes WHERE ${some('title', 2 + random.below(5), salt)}`,
  'truncate notes': () => 'TRUNCATE notes',
  'truncate and refill readings': (_random, salt) => `
    TRUNCATE readings; INSERT INTO readings SELECT id, n, ${salt} / 3.0, NULL FROM stations, generate_series(1, 20) n`,
  'empty all': () => 'TRUNCATE stations, readings, notes',
  'refill all': (_random, salt) => `
    INSERT INTO stations SELECT g, 1 + g % 2, 'again ' || g, ${salt} FROM generate_series(1, 200) g ON CONFLICT DO NOTHING;
    INSERT INTO readings SELECT s, n, s * n / 7.0, decode(md5(s || '/' || n), 'hex') FROM generate_series(1, 200) s, generate_series(1, 30) n
    ON CONFLICT DO NOTHING;
    INSERT INTO notes SELECT md5(g::text), repeat(md5('body' || g), 3) FROM generate_series(1, 1000) g ON CONFLICT DO NOTHING`,
  'other keys for stations': (_random, salt) => `
    WITH fresh AS (
      SELECT id AS old, (SELECT max(id) FROM stations) + row_number() OVER (ORDER BY id) AS new FROM stations WHERE ${some('id', 7, salt)}
    )
    UPDATE stations SET id = new FROM fresh WHERE id = old`,
  'other keys for notes': (random, salt) =>
    `UPDATE notes SET title = md5(title || '${salt}') WHERE ${some('title', 2 + random.below(20), salt)}`,
  'keys that change places': () => `
    WITH pairs AS (SELECT title, row_number() OVER (ORDER BY title) AS at FROM notes)
    UPDATE notes SET body = other.body FROM pairs mine, pairs your, notes other
    WHERE notes.title = mine.title AND your.at = mine.at + CASE WHEN mine.at % 2 = 1 THEN 1 ELSE -1 END AND other.title = your.title`,
  'stations move to the other site': (_random, salt) => `UPDATE stations SET site_id = 3 - site_id WHERE ${some('id', 6, salt)}`,
};
const NAMES = Object.keys(CHANGES);

export interface NamedChange {
  name: string;
  sql: string;
}

/** @param salt another for each change of a run */
export function randomChange(random: Random, salt: number): NamedChange {
  const name = random.pick(NAMES);
  return { name, sql: (CHANGES[name] as Change)(random, salt) };
}

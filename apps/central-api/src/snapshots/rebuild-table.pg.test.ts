import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ChunkIndex, type Manifest, sha256 } from '@waypost/contracts';
import { decompress } from '@waypost/runtime';
import { Random } from '../../../../scripts/fleet/random.js';
import { OTHER_VERSIONS } from '../../../../test/support/postgres-versions.js';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { readSample } from '../../../../test/support/samples.js';
import { installCapture } from '../../testing/capture.js';
import { type Central, startCentral } from '../../testing/central.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';

const SEED = Number(process.env['REBUILD_SEED'] ?? 20261127);
const MACS = ['02:00:00:00:00:01', '02:00:00:00:00:02'];
const ROWS = 6000;
const FILL_WORDS = `INSERT INTO words SELECT 'w' || g, g FROM generate_series(1, ${ROWS}) g ON CONFLICT DO NOTHING`;
/** Of each table: SQL of a row from the number g. */
const SCHEMA = `
  CREATE TABLE devices (mac macaddr PRIMARY KEY, site int NOT NULL);
  INSERT INTO devices VALUES ('${MACS[0]}', 1), ('${MACS[1]}', 2);
  CREATE TABLE readings (id bigint PRIMARY KEY, site int NOT NULL, v int, note text);
  INSERT INTO readings SELECT g, 1 + g % 2, g, repeat('n', g % 40) FROM generate_series(1, ${ROWS}) g;
  CREATE TABLE people (id uuid PRIMARY KEY, g int UNIQUE, name text);
  INSERT INTO people SELECT md5(g::text)::uuid, g, 'p' || g FROM generate_series(1, ${ROWS}) g;
  CREATE TABLE members (person uuid, site int, PRIMARY KEY (person, site));
  INSERT INTO members SELECT md5(g::text)::uuid, 1 + g % 2 FROM generate_series(1, ${ROWS}) g;
  CREATE TABLE parts (shelf text COLLATE "C", no int, v int, PRIMARY KEY (shelf, no)) PARTITION BY LIST (shelf);
  CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('a', 'A,"x"');
  CREATE TABLE parts_rest PARTITION OF parts DEFAULT;
  INSERT INTO parts SELECT (ARRAY['a', 'A,"x"', 'é', ''])[1 + g % 4], g, g FROM generate_series(1, ${ROWS}) g;
  CREATE TABLE nodes (id int PRIMARY KEY, parent int, open boolean NOT NULL);
  INSERT INTO nodes SELECT g, g / 2, g % 3 > 0 FROM generate_series(1, ${ROWS}) g;
  CREATE TABLE words (word text COLLATE "de-x-icu" PRIMARY KEY, v int, note text);
  ${FILL_WORDS};
  CREATE TABLE moved (a int NOT NULL UNIQUE, b int NOT NULL UNIQUE, v int, PRIMARY KEY (a));
  INSERT INTO moved SELECT g, -g, 0 FROM generate_series(1, 2000) g`;
const PLAN = `
version: 1
schemaVersion: 1
changes: triggers
scope:
  query: SELECT site FROM devices WHERE mac = :mac
tables:
  - name: readings
    where: site = :site -- of the device
  - name: people
    columns: [id, name]
    where: EXISTS (SELECT FROM members WHERE person = people.id AND members.site = :site)
  - name: parts
  - name: nodes
    where: EXISTS (SELECT FROM nodes AS p WHERE p.id = nodes.parent AND p.open)
  - name: words
  - name: moved
`;

let server: TestServer;
let central: OwnCentral;
/** Reads everything for each request. */
let rescanning: Central;

/** Tables of snapshots so far that were read in this way. */
const count = (source: string): Promise<number> => readSample(central.url, `waypost_central_table_snapshots_total{source="${source}"}`);

async function expectWhole(manifest: Manifest): Promise<void> {
  for (const { name, sha256: table, streamBytes } of manifest.tables) {
    const { body } = await central.download(manifest, name);
    expect(body.length).toBe(streamBytes);
    const index = ChunkIndex.decode(body.subarray(0, ChunkIndex.encodedBytes(body)));
    expect(index.totals().sha256).toBe(table);
    let at = ChunkIndex.encodedBytes(body);
    for (const { digest, frameBytes, rawBytes } of index) {
      expect(sha256(decompress(body.subarray(at, at + frameBytes), rawBytes)).equals(digest)).toBe(true);
      at += frameBytes;
    }
  }
}

/** SQL of a change to a few rows, most of them near each other or far apart. */
function changeOf(random: Random): string {
  const g = 1 + random.below(ROWS);
  const few = `(${Array.from({ length: 1 + random.below(6) }, () => 1 + random.below(ROWS)).join(', ')})`;
  const near = `BETWEEN ${g} AND ${g + random.below(700)}`;
  return random.pick([
    `UPDATE readings SET v = v + 1 WHERE id IN ${few}`,
    `UPDATE readings SET site = 3 - site WHERE id IN ${few}`,
    `UPDATE readings SET id = -id WHERE id IN ${few}`,
    `DELETE FROM readings WHERE id ${near}`,
    `INSERT INTO readings SELECT g, 1 + g % 2, 0, 'new' FROM generate_series(${g}, ${g + 20}) g ON CONFLICT (id) DO UPDATE SET note = 'again'`,
    `UPDATE people SET name = name || '!' WHERE g IN ${few}`,
    `DELETE FROM people WHERE g ${near}`,
    `UPDATE people SET id = md5(name || g)::uuid WHERE g IN ${few}`,
    `DELETE FROM members WHERE person IN (SELECT id FROM people WHERE g IN ${few})`,
    `UPDATE parts SET v = v + 1 WHERE no IN ${few}`,
    `UPDATE parts SET shelf = CASE shelf WHEN 'a' THEN 'z' ELSE 'a' END WHERE no IN ${few}`,
    `DELETE FROM parts_rest WHERE no ${near}`,
    `INSERT INTO parts VALUES ('a', ${ROWS + g}, 0), ('ö', ${ROWS + g}, 0) ON CONFLICT DO NOTHING`,
    `UPDATE nodes SET open = NOT open WHERE id IN ${few}`,
    `UPDATE words SET v = v + 1 WHERE v IN ${few}`,
    `UPDATE words SET word = CASE WHEN word ~ '^W' THEN lower(word) ELSE upper(word) END WHERE v IN ${few}`,
    `DELETE FROM words WHERE v ${near}`,
    `INSERT INTO words SELECT chr(65 + g % 60) || 'ä-' || g, g FROM generate_series(${g}, ${g + 30}) g ON CONFLICT DO NOTHING`,
    `BEGIN; DELETE FROM readings WHERE id IN ${few}; SAVEPOINT s; UPDATE parts SET v = 0 WHERE no IN ${few}; ROLLBACK TO s; COMMIT`,
    `UPDATE readings SET note = 'many' WHERE id % 3 = ${random.below(3)}`,
    'TRUNCATE words',
  ]);
}

describe.each([
  { version: 'of the default version', npmPackage: undefined, steps: 25 },
  ...OTHER_VERSIONS.map((npmPackage) => ({ version: npmPackage, npmPackage, steps: 10 })),
])('PostgreSQL $version', ({ npmPackage, steps }) => {
  beforeAll(async () => {
    server = await startTestServer(npmPackage ? { npmPackage } : {});
    const env = { MAX_SHRINK: '1' };
    central = await startOwnCentral({ server, schema: SCHEMA, plan: PLAN, env });
    rescanning = await startCentral({ databaseUrl: central.databaseUrl, plan: PLAN.replace('changes: triggers', 'changes: none'), env });
    await installCapture(central.databaseUrl, PLAN);
  });
  afterAll(async () => {
    await rescanning?.[Symbol.asyncDispose]();
    await central?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  test(`after any changes a device gets the tree that reading all tables makes, and every chunk of it is there (REBUILD_SEED=${SEED})`, async () => {
    const random = new Random(SEED, 'rebuild');
    const held = new Map<string, Manifest>();
    for (const mac of MACS) held.set(mac, await central.manifestFor(mac));
    for (let step = 1; step <= steps; step += 1) {
      const changes = Array.from({ length: 1 + random.below(3) }, () => changeOf(random));
      for (const sql of changes) await central.sql(sql);
      for (const [mac, manifest] of held) {
        const next = await central.poll(manifest);
        const whole = await rescanning.manifestFor(mac);
        expect({ step, changes, mac, tables: next.tables }).toEqual({ step, changes, mac, tables: whole.tables });
        held.set(mac, next);
      }
      if (step % 10 === 0) for (const manifest of held.values()) await expectWhole(manifest);
    }
    expect(await count('changed')).toBeGreaterThan(steps / 2);
  });

  test.each([
    [
      'rows of the share',
      "UPDATE readings SET note = 'x' WHERE id = (SELECT max(id) FROM readings WHERE site = 1)",
      { changed: 1, built: 0 },
    ],
    [
      'rows of another device’s share',
      "UPDATE readings SET note = 'x' WHERE id = (SELECT max(id) FROM readings WHERE site = 2)",
      { changed: 1, built: 0 },
    ],
    [
      'a row that leaves the share',
      'UPDATE readings SET site = 2 WHERE id = (SELECT max(id) FROM readings WHERE site = 1)',
      { changed: 1, built: 0 },
    ],
    [
      'a table that is joined',
      'DELETE FROM members WHERE person = (SELECT person FROM members ORDER BY person LIMIT 1)',
      { changed: 0, built: 1 },
    ],
    ['a table whose rows decide about each other', 'UPDATE nodes SET open = NOT open WHERE id = 7', { changed: 0, built: 1 }],
    ['a table without an index in the order of its key', 'INSERT INTO words VALUES (gen_random_uuid()::text, 0)', { changed: 1, built: 0 }],
    [
      'many rows beside each other in such a table',
      "INSERT INTO words SELECT 'wäre ' || g, 0 FROM generate_series(1, 900) g",
      { changed: 1, built: 0 },
    ],
    ['a statement with too many rows to list', 'UPDATE readings SET v = v + 1', { changed: 0, built: 1 }],
    [
      'two tables',
      "UPDATE parts SET v = -1 WHERE no = (SELECT max(no) FROM parts); UPDATE people SET name = 'y' WHERE g = (SELECT max(g) FROM people)",
      { changed: 2, built: 0 },
    ],
  ])('%s changed: only what must be is read', async (_, sql, expected) => {
    const mac = MACS[0] as string;
    await central.sql(FILL_WORDS);
    const held = await central.manifestFor(mac);
    const before = { changed: await count('changed'), built: await count('built') };
    await central.sql(sql);
    const next = await central.poll(held);
    expect({ changed: (await count('changed')) - before.changed, built: (await count('built')) - before.built }).toEqual(expected);
    expect(next.tables).toEqual((await rescanning.manifestFor(mac)).tables);
  });

  test('rows that become too long to be held together, and chunks that are: their ranges are read', async () => {
    const before = await count('changed');
    const fill = 'UPDATE readings SET note = repeat(md5(random()::text), 100000) WHERE id IN (SELECT id FROM readings ORDER BY id LIMIT 4)';
    for (const sql of [fill, fill, "UPDATE readings SET note = 'short' WHERE length(note) > 1000"]) {
      await central.sql(sql);
      const manifest = await central.manifestFor(MACS[0]!);
      const whole = await rescanning.manifestFor(MACS[0]!);
      expect(manifest.tables.map((table) => table.sha256)).toEqual(whole.tables.map((table) => table.sha256));
      await expectWhole(manifest);
    }
    expect(await count('changed')).toBe(before + 3);
  });

  test('long rows in a table without an index in the order of its key: it is read whole', async () => {
    await central.sql(FILL_WORDS);
    let held = await central.manifestFor(MACS[0]!);
    const before = { changed: await count('changed'), built: await count('built') };
    const fill =
      'UPDATE words SET note = repeat(md5(random()::text), 160000) WHERE word IN (SELECT word FROM words ORDER BY word COLLATE "C" LIMIT 4)';
    for (const sql of [fill, fill, "UPDATE words SET note = 'short' WHERE length(note) > 1000", 'UPDATE words SET v = 7 WHERE v = 9']) {
      await central.sql(sql);
      held = await central.poll(held);
      expect(held.tables).toEqual((await rescanning.manifestFor(MACS[0]!)).tables);
    }
    expect({ changed: (await count('changed')) - before.changed, built: (await count('built')) - before.built }).toEqual({
      changed: 1,
      built: 3,
    });
  });

  test('a primary key that moves to other columns: what was recorded by the old one is of no use', async () => {
    const mac = MACS[0] as string;
    let held = await central.manifestFor(mac);
    for (const sql of [
      'ALTER TABLE moved DROP CONSTRAINT moved_pkey, ADD PRIMARY KEY (b)',
      'UPDATE moved SET v = 1 WHERE a = 70',
      'UPDATE moved SET v = 2 WHERE a IN (5, 1900)',
    ]) {
      await central.sql(sql);
      held = await central.poll(held);
      expect(held.tables).toEqual((await rescanning.manifestFor(mac)).tables);
    }
  });

  test('a store whose chunks are damaged: the table is read whole', async () => {
    const mac = MACS[0] as string;
    const held = await central.manifestFor(mac);
    for (const pack of await readdir(join(central.store, 'packs'))) {
      const path = join(central.store, 'packs', pack);
      await writeFile(
        path,
        (await readFile(path)).map((byte) => byte ^ 1),
      );
    }
    await central.sql("UPDATE readings SET note = 'y' WHERE id = (SELECT min(id) FROM readings WHERE site = 1)");
    const before = await count('built');
    const next = await central.poll(held);
    expect(next.tables).toEqual((await rescanning.manifestFor(mac)).tables);
    expect(await count('built')).toBeGreaterThan(before);
  });

  test('a store that lost what was read earlier: the table is read whole', async () => {
    const mac = MACS[0] as string;
    const held = await central.manifestFor(mac);
    await central.sql('DELETE FROM waypost.table_contents WHERE border_keys IS NOT NULL');
    await central.sql("UPDATE readings SET note = 'z' WHERE id = (SELECT min(id) FROM readings WHERE site = 1)");
    const next = await central.poll(held);
    expect(next.tables).toEqual((await rescanning.manifestFor(mac)).tables);
  });
});

import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { installCapture } from '../../testing/capture.js';
import { type Central, startCentral } from '../../testing/central.js';
import { runSql } from '../../testing/sql.js';

const MAC = '02:00:00:00:00:01';
const SCHEMA = `
  CREATE TABLE locations (id int PRIMARY KEY, company int);
  CREATE TABLE devices (mac macaddr, location int);
  INSERT INTO locations VALUES (1, 7); INSERT INTO devices VALUES ('${MAC}', 1);
  CREATE TABLE members (user_id int, location int);
  CREATE TABLE users (id int PRIMARY KEY, name text);
  CREATE FUNCTION is_shown(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
  CREATE TABLE areas (id int PRIMARY KEY, location int)`;
const PLAN = `version: 1
schemaVersion: 1
scope:
  query: |
    SELECT d.location, l.company
    FROM devices d
    JOIN locations l ON l.id = d.location
    WHERE d.mac = :mac
tables:
  - name: users
    where: |
      is_shown(name) AND
      EXISTS (SELECT FROM members m WHERE m.user_id = users.id AND m.location = :location)
  - name: areas
    columns: [id, location]
    where: location = :location
`;

let server: TestServer;
let central: Central;

beforeAll(async () => {
  server = await startTestServer();
});

afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
});

describe.each(['', 'changes: triggers\n'])('with the plan’s %j', (changes) => {
  beforeAll(async () => {
    const { url } = await server.createDatabase('altered');
    await runSql(url, SCHEMA);
    central = await startCentral({ databaseUrl: url, plan: PLAN + changes });
    if (changes) await installCapture(url, PLAN + changes);
  });

  afterAll(async () => {
    await central?.[Symbol.asyncDispose]();
  });

  test.each([
    [
      'a column of the scope query',
      'devices RENAME location TO place',
      'devices RENAME place TO location',
      [7, 'column d.location does not exist'],
    ],
    ['a table of the scope query', 'locations RENAME TO places', 'places RENAME TO locations', [7, 'relation "locations" does not exist']],
    [
      'a column that only a filter uses',
      'members RENAME user_id TO member',
      'members RENAME member TO user_id',
      [13, 'column m.user_id does not exist'],
    ],
    ['a mirrored column', 'areas RENAME location TO place', 'areas RENAME place TO location', [15, 'table areas has no column "location"']],
    ['a mirrored table', 'areas RENAME TO zones', 'zones RENAME TO areas', [14, 'table areas does not exist, or may not be seen']],
    ['a joined table', 'members RENAME TO people', 'people RENAME TO members', [13, 'relation "members" does not exist']],
  ] as const)(
    '%s is renamed under a running central: the refusal names the line and what is missing',
    async (_, rename, back, [line, fault]) => {
      await central.manifestFor(MAC);
      await central.sql(`ALTER TABLE ${rename}`);
      const { status, body } = await central.post('/api/device-sync/request', { mac: MAC });
      await central.sql(`ALTER TABLE ${back}`);
      expect({ status, code: body.code }).toEqual({ status: 500, code: 'PLAN_INVALID' });
      expect(body.detail).toMatch(/^The database was altered, and the plan does not fit it any more:\n/);
      expect(body.detail).toContain(`plan.yaml:${line}: ${fault}`);
      expect(body.hint).toContain('restart central');
      await central.manifestFor(MAC);
    },
  );

  test('a function that a filter calls is gone: the refusal names the line', async () => {
    await central.manifestFor(MAC);
    await central.sql('ALTER FUNCTION is_shown RENAME TO was_shown');
    const { body } = await central.post('/api/device-sync/request', { mac: MAC });
    await central.sql('ALTER FUNCTION was_shown RENAME TO is_shown');
    expect(body).toMatchObject({
      code: 'PLAN_INVALID',
      detail: expect.stringContaining('plan.yaml:12: function is_shown(text) does not exist') as string,
    });
    await central.manifestFor(MAC);
  });
});

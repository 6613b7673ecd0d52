import { startTestServer } from '../../../../test/support/postgres.js';
import { startCentral } from '../../testing/central.js';
import { SHOP_1, SHOP_PLAN, SHOP_SCHEMA } from '../../testing/shop.js';
import { runSql } from '../../testing/sql.js';

test('a role that may read the business tables, make temporary views and owns schema waypost is enough', async () => {
  await using server = await startTestServer();
  await using database = await server.createDatabase('shop');
  const name = new URL(database.url).pathname.slice(1);
  const role = `waypost_${process.pid}`;
  await runSql(
    database.url,
    `${SHOP_SCHEMA};
     REVOKE ALL ON DATABASE ${name} FROM PUBLIC;
     CREATE ROLE ${role} LOGIN PASSWORD 'test';
     GRANT CONNECT, TEMPORARY ON DATABASE ${name} TO ${role};
     CREATE SCHEMA waypost AUTHORIZATION ${role};
     GRANT USAGE ON SCHEMA public, "Odd/Schema?" TO ${role};
     GRANT SELECT ON ALL TABLES IN SCHEMA public, "Odd/Schema?" TO ${role}`,
  );
  const url = new URL(database.url);
  [url.username, url.password] = [role, 'test'];
  await using central = await startCentral({ databaseUrl: url.href, plan: SHOP_PLAN });
  const manifest = await central.manifestFor(SHOP_1);
  expect(manifest.tables.length).toBeGreaterThan(0);
  expect((await central.download(manifest, 'accounts')).status).toBe(200);
  await expect(central.sql('DELETE FROM accounts')).rejects.toThrow(/permission denied/);
});

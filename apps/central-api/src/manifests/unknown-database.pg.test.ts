import type { Manifest } from '@waypost/contracts';
import { startTestServer } from '../../../../test/support/postgres.js';
import { installCapture, showCapture } from '../../testing/capture.js';
import { startCentral } from '../../testing/central.js';
import { SHOP_1, SHOP_PLAN, SHOP_SCHEMA } from '../../testing/shop.js';
import { runSql } from '../../testing/sql.js';

const PLAN = SHOP_PLAN.replace('schemaVersion: 3', 'schemaVersion: 3\nchanges: triggers');

test.each(['pg_control_system()', 'pg_walfile_name(pg_lsn)'])(
  'where the role of the service may not call %s, nothing is called unchanged until it may, and capture show names the GRANT',
  async (name) => {
    await using server = await startTestServer();
    await using database = await server.createDatabase('shop');
    const role = `waypost_${process.pid}`;
    await runSql(
      database.url,
      `${SHOP_SCHEMA};
       CREATE ROLE ${role} LOGIN PASSWORD 'test';
       CREATE SCHEMA waypost AUTHORIZATION ${role};
       GRANT USAGE ON SCHEMA public, "Odd/Schema?" TO ${role};
       GRANT SELECT ON ALL TABLES IN SCHEMA public, "Odd/Schema?" TO ${role};
       REVOKE EXECUTE ON FUNCTION ${name} FROM PUBLIC`,
    );
    const url = new URL(database.url);
    [url.username, url.password] = [role, 'test'];
    await using central = await startCentral({ databaseUrl: url.href, plan: PLAN, env: { CANARY_INTERVAL: 'off', SHADOW_READS: 'off' } });
    await installCapture(database.url, PLAN);
    /** Whether a change that was not recorded is found, as only reading finds it; and the manifest after it. */
    const readsAfter = async (held: Manifest): Promise<{ reads: boolean; next: Manifest }> => {
      await runSql(database.url, 'UPDATE vaults SET balance = balance + 1 WHERE shop = 1; DELETE FROM waypost.changes');
      const next = await central.poll(held);
      return { reads: next.manifestId !== held.manifestId, next };
    };

    const first = await central.manifestFor(SHOP_1);
    expect((await central.poll(first)).manifestId).toBe(first.manifestId);
    expect(await readsAfter(first)).toMatchObject({ reads: true });
    expect(await central.sql('SELECT FROM waypost.table_reads')).toEqual([]);
    const grant = `GRANT EXECUTE ON FUNCTION pg_catalog.${name} TO "${role}"`;
    expect((await showCapture(database.url, PLAN)).obstacles).toEqual([expect.stringContaining(grant)]);

    await runSql(database.url, grant);
    expect((await showCapture(database.url, PLAN)).obstacles).toEqual([]);
    const known = await central.poll(first);
    expect(known.epoch).not.toBe(first.epoch);
    expect((await central.poll(known)).manifestId).toBe(known.manifestId);
    expect(await readsAfter(known)).toMatchObject({ reads: false });

    // Connections that know their database go on; those that come after them cannot know theirs.
    await runSql(database.url, `REVOKE EXECUTE ON FUNCTION ${name} FROM ${role}`);
    await runSql(
      database.url,
      "SELECT pg_terminate_backend(pid, 60_000) FROM pg_stat_activity WHERE application_name LIKE 'waypost-central%' AND datname = current_database()",
    );
    const again = await central.poll(known);
    expect(await readsAfter(again)).toMatchObject({ reads: true });
  },
);

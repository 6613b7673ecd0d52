import { readDatabaseIdentity } from '@waypost/runtime';
import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Which tables Waypost may write to. What an earlier version mirrored is among them. */
export class CreateOwnedTables1796600000001 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.edge_owned_tables (
        relation text PRIMARY KEY,
        table_oid oid,
        database text NOT NULL,
        how text NOT NULL CHECK (how IN ('created', 'empty', 'adopted', 'earlier')),
        since timestamptz NOT NULL DEFAULT clock_timestamp()
      )`);
    await runner.query(`
      COMMENT ON TABLE waypost.edge_owned_tables IS
        'Tables that Waypost may write to: created by it, empty when it first met them, handed over (waypost adopt), or mirrored by an earlier version'`);
    const { identity } = await readDatabaseIdentity((text) => runner.query(text));
    await runner.query(
      `INSERT INTO waypost.edge_owned_tables (relation, table_oid, database, how)
       SELECT DISTINCT ON (relation) relation, to_regclass(relation)::oid, $1, 'earlier' FROM waypost.edge_mirror_tables ORDER BY relation`,
      [identity],
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE waypost.edge_owned_tables');
  }
}

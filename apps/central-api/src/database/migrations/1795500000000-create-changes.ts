import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * What change capture records, and up to which moment each manifest is known to be what the device should hold. `xid` is that of the whole
 * transaction: with a manifest's `pg_snapshot` it tells whether the manifest has seen the change, however late the transaction committed.
 */
export class CreateChanges1795500000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.changes (
        xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        relation oid NOT NULL,
        operation text NOT NULL CHECK (operation IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')),
        keys text[],
        changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
      );
      CREATE INDEX changes_by_relation ON waypost.changes (relation, xid);
      ALTER TABLE waypost.manifests ADD seen pg_snapshot, ADD watch text;
      COMMENT ON TABLE waypost.changes IS 'Statements that changed rows of watched tables: waypost capture install. Pruned by what live manifests need.';
      COMMENT ON COLUMN waypost.changes.xid IS 'The transaction, as pg_current_xact_id() gives it.';
      COMMENT ON COLUMN waypost.changes.keys IS 'Keys of the changed rows as PostgreSQL prints records; null where there are many, or where the table has no key.';
      COMMENT ON COLUMN waypost.manifests.seen IS 'The manifest holds what this snapshot sees; null where changes are not captured.';
      COMMENT ON COLUMN waypost.manifests.watch IS 'Fingerprint of the plan and of the catalog under which that holds.';`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE waypost.changes; ALTER TABLE waypost.manifests DROP seen, DROP watch;');
  }
}

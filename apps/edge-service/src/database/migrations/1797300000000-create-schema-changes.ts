import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What Waypost altered on the device, beside the rows. It goes with the audit of its cycle. */
export class CreateSchemaChanges1797300000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.edge_schema_changes (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        edge_sync_id text NOT NULL REFERENCES waypost.edge_sync_log (id) ON DELETE CASCADE,
        changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        object text NOT NULL,
        statement text NOT NULL,
        shape_from text,
        shape_to text
      )`);
    await runner.query('CREATE INDEX edge_schema_changes_by_cycle ON waypost.edge_schema_changes (edge_sync_id)');
    await runner.query(`
      COMMENT ON TABLE waypost.edge_schema_changes IS
        'Tables and types of the device that Waypost altered, with the fingerprints of the tables'' shapes before and after'`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE waypost.edge_schema_changes');
  }
}

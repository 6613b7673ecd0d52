import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What devices found to be other rows than they had verified. */
export class CreateDriftReports1797400000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.drift_reports (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        mac text NOT NULL,
        manifest_id text NOT NULL,
        table_name text NOT NULL,
        chunks int NOT NULL,
        first_key text,
        last_key text,
        found_at timestamptz NOT NULL,
        reported_at timestamptz NOT NULL DEFAULT now()
      );
      CREATE UNIQUE INDEX drift_reports_once ON waypost.drift_reports (mac, table_name, found_at, coalesce(md5(first_key), ''), coalesce(md5(last_key), ''));
      CREATE INDEX drift_reports_by_time ON waypost.drift_reports (reported_at);
      COMMENT ON TABLE waypost.drift_reports IS
        'Chunks whose rows were altered on a device, as it reported with the acknowledgement of the load that put them right: more than first_key (null: from the beginning), up to last_key (null: to the end).';
      COMMENT ON COLUMN waypost.drift_reports.found_at IS 'By the clock of the device.';`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE waypost.drift_reports');
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

/** When each captured table was last written to without changing a row, to see whether that is recorded; what is found is a finding as that of a shadow read. */
export class CreateCanaries1797000000100 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.canaries (
        table_name text PRIMARY KEY,
        tried_at timestamptz NOT NULL DEFAULT now(),
        checked_at timestamptz,
        not_checked text
      );
      COMMENT ON TABLE waypost.canaries IS 'When central last tried whether writes to a captured table are recorded (CANARY_INTERVAL).';
      COMMENT ON COLUMN waypost.canaries.checked_at IS 'The last time with an outcome.';
      COMMENT ON COLUMN waypost.canaries.not_checked IS 'Why the last try had none, or not for each operation.';
      ALTER TABLE waypost.shadow_findings
        ALTER manifest_id DROP NOT NULL, ALTER mac DROP NOT NULL, ADD found_by text NOT NULL DEFAULT 'shadow read', ADD detail text;
      COMMENT ON COLUMN waypost.shadow_findings.found_by IS 'shadow read, or canary: a write that was not recorded.';`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DELETE FROM waypost.shadow_findings WHERE manifest_id IS NULL;
      ALTER TABLE waypost.shadow_findings ALTER manifest_id SET NOT NULL, ALTER mac SET NOT NULL, DROP found_by, DROP detail;
      DROP TABLE waypost.canaries`);
  }
}

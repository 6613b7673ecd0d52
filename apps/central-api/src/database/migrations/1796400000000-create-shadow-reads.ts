import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Tables that are read although capture says that they did not change: when last, and what differed. */
export class CreateShadowReads1796400000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.shadow_reads (
        table_name text PRIMARY KEY,
        last_read_at timestamptz NOT NULL DEFAULT now()
      );
      COMMENT ON TABLE waypost.shadow_reads IS 'When a table of the plan was last read to compare it with an unchanged manifest.';
      CREATE TABLE waypost.shadow_findings (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        table_name text NOT NULL,
        found_at timestamptz NOT NULL DEFAULT now(),
        manifest_id text NOT NULL,
        mac text NOT NULL,
        expected_sha256 text,
        found_sha256 text,
        cleared_at timestamptz,
        cleared_by text
      );
      CREATE UNIQUE INDEX shadow_findings_open ON waypost.shadow_findings (table_name) WHERE cleared_at IS NULL;
      COMMENT ON TABLE waypost.shadow_findings IS 'Tables whose rows differed although no change was captured. While one is open, every request reads tables: waypost capture trust.';
      COMMENT ON COLUMN waypost.shadow_findings.table_name IS 'A table of the plan, or (scope) where what the device may see had changed.';`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE waypost.shadow_findings; DROP TABLE waypost.shadow_reads');
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What leads from one content to another: made once, for all devices that hold the one and are to have the other. */
export class CreateTableDeltas1797100000100 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.table_deltas (
        base_sha256 text NOT NULL,
        sha256 text NOT NULL,
        format text NOT NULL,
        bytes bytea,
        reason text,
        made_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (sha256, format, base_sha256),
        CHECK ((bytes IS NULL) <> (reason IS NULL))
      );
      -- It is compressed already.
      ALTER TABLE waypost.table_deltas ALTER bytes SET STORAGE EXTERNAL;
      COMMENT ON TABLE waypost.table_deltas IS 'Delta streams between contents of the chunk store. A sweep removes those whose content is gone; all of it can be made again.';
      COMMENT ON COLUMN waypost.table_deltas.base_sha256 IS 'Of the content that a device holds.';
      COMMENT ON COLUMN waypost.table_deltas.reason IS 'Why there is none: the whole table is the better answer.';`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE waypost.table_deltas');
  }
}

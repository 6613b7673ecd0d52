import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What was read of tables while changes are captured: whoever needs the same takes it, as long as nothing has changed since. */
export class CreateTableReads1795610000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.table_reads (
        key text PRIMARY KEY,
        epoch text NOT NULL,
        watch text NOT NULL,
        sha256 text NOT NULL,
        format text NOT NULL CHECK (format IN ('binary', 'text')),
        sources oid[] NOT NULL,
        seen pg_snapshot NOT NULL,
        noted_by xid8 NOT NULL DEFAULT pg_current_xact_id(),
        built_at timestamptz NOT NULL DEFAULT now(),
        used_at timestamptz NOT NULL DEFAULT now()
      );
      COMMENT ON TABLE waypost.table_reads IS 'Tables as they were read for some devices, for others whose query and parameters are the same. Rows that nobody used for a day go.';
      COMMENT ON COLUMN waypost.table_reads.key IS 'SHA-256 of the query, its parameters and the layout.';
      COMMENT ON COLUMN waypost.table_reads.watch IS 'Fingerprint of the plan and of the catalog under which it was read.';
      COMMENT ON COLUMN waypost.table_reads.sources IS 'All tables that the query reads.';
      COMMENT ON COLUMN waypost.table_reads.seen IS 'A snapshot in which the query gives these rows.';
      COMMENT ON COLUMN waypost.table_reads.noted_by IS 'The transaction that wrote down what was read.';`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE waypost.table_reads');
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What tables held when they left the plan: one that comes back as it was is Waypost's again. */
export class CreateLeftTables1797500000013 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.edge_left_tables (
        relation text PRIMARY KEY,
        table_oid oid NOT NULL,
        database text NOT NULL,
        how text NOT NULL,
        contents jsonb NOT NULL,
        left_at timestamptz NOT NULL DEFAULT clock_timestamp()
      )`);
    await runner.query(`
      COMMENT ON TABLE waypost.edge_left_tables IS
        'Tables that left the plan and stayed, as the last manifest described them: one that comes back and still holds these rows may be written to again'`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE waypost.edge_left_tables');
  }
}

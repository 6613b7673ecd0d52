import type { MigrationInterface, QueryRunner } from 'typeorm';

export class CreateKeptRows1795200000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.edge_kept_rows (
        table_name text NOT NULL,
        row_key text NOT NULL,
        referenced_by text NOT NULL,
        kept_since timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (table_name, row_key)
      )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE waypost.edge_kept_rows');
  }
}

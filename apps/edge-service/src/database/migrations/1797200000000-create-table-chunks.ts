import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What a change is applied to, and how each table was brought up to its manifest. */
export class CreateTableChunks1797200000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.edge_table_chunks (
        table_name text NOT NULL,
        position int NOT NULL,
        chunks bytea NOT NULL,
        keys bytea NOT NULL,
        PRIMARY KEY (table_name, position)
      )`);
    // Digests cannot be compressed.
    await runner.query('ALTER TABLE waypost.edge_table_chunks ALTER chunks SET STORAGE EXTERNAL');
    await runner.query(`
      COMMENT ON TABLE waypost.edge_table_chunks IS
        'Digests, row counts and last keys of the chunks of each mirrored table when they were last read back and hashed'`);
    await runner.query('ALTER TABLE waypost.edge_sync_tables ADD way text, ADD reason text');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE waypost.edge_sync_tables DROP way, DROP reason');
    await runner.query('DROP TABLE waypost.edge_table_chunks');
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

export class CreateEdgeTables1795000000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.edge_sync_log (
        id text PRIMARY KEY,
        manifest_id text,
        started_at timestamptz NOT NULL,
        completed_at timestamptz,
        status text NOT NULL CHECK (status IN ('Running', 'Success', 'Unchanged', 'Failed')),
        duration_ms bigint,
        error_code text,
        error_text text,
        trigger text NOT NULL,
        downloaded_bytes bigint NOT NULL DEFAULT 0,
        rows_loaded bigint NOT NULL DEFAULT 0
      )`);
    await runner.query(`
      CREATE TABLE waypost.edge_sync_tables (
        edge_sync_id text NOT NULL REFERENCES waypost.edge_sync_log (id) ON DELETE CASCADE,
        table_name text NOT NULL,
        row_count bigint NOT NULL,
        sha256 text NOT NULL,
        action text NOT NULL CHECK (action IN ('loaded', 'unchanged')),
        downloaded_bytes bigint NOT NULL,
        PRIMARY KEY (edge_sync_id, table_name)
      )`);
    await runner.query('CREATE TABLE waypost.edge_sync_state (key text PRIMARY KEY, value text NOT NULL)');
    await runner.query(`
      CREATE TABLE waypost.edge_mirror_tables (
        table_name text PRIMARY KEY,
        sha256 text NOT NULL,
        row_count bigint NOT NULL,
        format text NOT NULL,
        manifest_id text NOT NULL,
        relation text NOT NULL,
        storage text NOT NULL,
        verified_at timestamptz NOT NULL
      )`);
    await runner.query(`
      CREATE TABLE waypost.edge_acks (
        manifest_id text NOT NULL,
        status text NOT NULL CHECK (status IN ('Success', 'Failed')),
        body json NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        attempts int NOT NULL DEFAULT 0,
        last_error text,
        refused_at timestamptz,
        PRIMARY KEY (manifest_id, status)
      )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(
      'DROP TABLE waypost.edge_acks, waypost.edge_mirror_tables, waypost.edge_sync_state, waypost.edge_sync_tables, waypost.edge_sync_log',
    );
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Readings of all that the device holds, what they found, and when each table was last read as a whole. */
export class CreateScrubs1797400000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.edge_scrubs (
        id text PRIMARY KEY,
        trigger text NOT NULL,
        started_at timestamptz NOT NULL,
        completed_at timestamptz,
        tables int NOT NULL DEFAULT 0,
        chunks bigint NOT NULL DEFAULT 0,
        rows bigint NOT NULL DEFAULT 0,
        raw_bytes bigint NOT NULL DEFAULT 0,
        progress jsonb,
        repair_cycle_id text
      )`);
    await runner.query(`
      CREATE TABLE waypost.edge_drifts (
        scrub_id text REFERENCES waypost.edge_scrubs ON DELETE CASCADE,
        found_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        table_name text NOT NULL,
        chunks int NOT NULL,
        first_key text,
        last_key text,
        reported_at timestamptz
      )`);
    await runner.query('CREATE INDEX edge_drifts_of_scrub ON waypost.edge_drifts (scrub_id)');
    await runner.query(
      `COMMENT ON TABLE waypost.edge_scrubs IS 'Readings of all mirrored rows; completed_at is null while one is under way or was broken off'`,
    );
    await runner.query(`
      COMMENT ON TABLE waypost.edge_drifts IS
        'Chunks whose rows were not those that were verified last: more than first_key (null: from the beginning), up to last_key (null: to the end). scrub_id is null where a sync met them; reported_at: when central had it'`);
    await runner.query('ALTER TABLE waypost.edge_mirror_tables ADD whole_at timestamptz');
    await runner.query('UPDATE waypost.edge_mirror_tables SET whole_at = verified_at');
    await runner.query(`COMMENT ON COLUMN waypost.edge_mirror_tables.whole_at IS 'Every row of it was read at this time or later'`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE waypost.edge_mirror_tables DROP whole_at');
    await runner.query('DROP TABLE waypost.edge_drifts, waypost.edge_scrubs');
  }
}

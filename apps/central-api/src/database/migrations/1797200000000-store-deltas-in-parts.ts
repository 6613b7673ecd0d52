import type { MigrationInterface, QueryRunner } from 'typeorm';

/** A delta is written and read part by part, so that no process holds it as a whole. Those that were made before are made again where they are asked for. */
export class StoreDeltasInParts1797200000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      TRUNCATE waypost.table_deltas;
      ALTER TABLE waypost.table_deltas DROP bytes, ADD delta_id text UNIQUE, ADD head_bytes integer, ADD bytes bigint,
        ADD CHECK (num_nonnulls(delta_id, head_bytes, bytes) IN (0, 3)), ADD CHECK ((delta_id IS NULL) <> (reason IS NULL));
      COMMENT ON COLUMN waypost.table_deltas.delta_id IS 'Names its bytes, which are in waypost.delta_parts.';
      COMMENT ON COLUMN waypost.table_deltas.head_bytes IS 'Length of what stands before its first frame.';
      COMMENT ON COLUMN waypost.table_deltas.bytes IS 'Its length.';

      CREATE TABLE waypost.delta_parts (
        delta_id text NOT NULL,
        start bigint NOT NULL,
        bytes bytea NOT NULL,
        made_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (delta_id, start)
      );
      -- They are compressed already.
      ALTER TABLE waypost.delta_parts ALTER bytes SET STORAGE EXTERNAL;
      COMMENT ON TABLE waypost.delta_parts IS 'Delta streams in parts. Parts come before their row in waypost.table_deltas; where that never came, a sweep removes them.';
      COMMENT ON COLUMN waypost.delta_parts.start IS 'Counted from the first frame: what stands before it is known last, and has negative positions.';`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TABLE waypost.delta_parts;
      TRUNCATE waypost.table_deltas;
      ALTER TABLE waypost.table_deltas DROP delta_id, DROP head_bytes, DROP bytes;
      ALTER TABLE waypost.table_deltas ADD bytes bytea, ADD CHECK ((bytes IS NULL) <> (reason IS NULL));
      ALTER TABLE waypost.table_deltas ALTER bytes SET STORAGE EXTERNAL`);
  }
}

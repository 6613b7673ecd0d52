import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Tables of shares that lost too many rows in one step: what is held back from which device, and who consented to it. */
export class CreateHeldShrinks1796300000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.held_shrinks (
        mac text NOT NULL,
        table_name text NOT NULL,
        base_manifest_id text NOT NULL,
        rows_before bigint NOT NULL,
        rows_now bigint NOT NULL,
        first_held_at timestamptz NOT NULL DEFAULT now(),
        last_held_at timestamptz NOT NULL DEFAULT now(),
        released_at timestamptz,
        released_by text,
        closed_at timestamptz,
        PRIMARY KEY (mac, table_name)
      );
      CREATE INDEX held_shrinks_open ON waypost.held_shrinks (table_name) WHERE released_at IS NULL AND closed_at IS NULL;
      COMMENT ON TABLE waypost.held_shrinks IS
        'The last time that a table of a device''s share lost more rows than MAX_SHRINK allows. Held back: released_at and closed_at are null.';
      COMMENT ON COLUMN waypost.held_shrinks.base_manifest_id IS 'The manifest that the device holds.';
      COMMENT ON COLUMN waypost.held_shrinks.rows_before IS 'Rows of the table in that manifest.';
      COMMENT ON COLUMN waypost.held_shrinks.rows_now IS 'Rows at central when the device last asked; once released, the fewest that it may get.';
      COMMENT ON COLUMN waypost.held_shrinks.released_by IS 'Who ran waypost release: user of the machine, and role of the database.';
      COMMENT ON COLUMN waypost.held_shrinks.closed_at IS 'When the device got a manifest after all: released, allowed, or the rows had come back.';`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE waypost.held_shrinks');
  }
}

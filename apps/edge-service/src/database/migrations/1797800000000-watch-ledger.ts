import type { MigrationInterface, QueryRunner } from 'typeorm';

/** A ledger that central does not show, and which cycle found what. */
export class WatchLedger1797800000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.edge_ledger_withheld (
        id boolean PRIMARY KEY DEFAULT true CHECK (id),
        since timestamptz NOT NULL DEFAULT clock_timestamp(),
        polls integer NOT NULL DEFAULT 1
      );
      COMMENT ON TABLE waypost.edge_ledger_withheld IS
        'A row while central answers polls and its ledger cannot be checked: since when, and at how many polls.';

      ALTER TABLE waypost.edge_ledger_forks ADD COLUMN edge_sync_id text;
      COMMENT ON COLUMN waypost.edge_ledger_forks.edge_sync_id IS 'The cycle that found it.';
      COMMENT ON COLUMN waypost.edge_ledger_forks.received IS 'Empty where central withheld its ledger.'`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE waypost.edge_ledger_forks DROP COLUMN edge_sync_id;
      DROP TABLE waypost.edge_ledger_withheld`);
  }
}

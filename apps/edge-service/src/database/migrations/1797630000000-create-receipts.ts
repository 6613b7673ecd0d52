import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What the device signed for its acks, and what it saw of central's ledger. */
export class CreateReceipts1797630000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.edge_receipts (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        key text NOT NULL,
        sequence bigint NOT NULL,
        sha256 text NOT NULL,
        body text NOT NULL,
        signature text NOT NULL,
        made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        sent_at timestamptz,
        refused_at timestamptz,
        included_at timestamptz,
        UNIQUE (key, sequence)
      );
      CREATE INDEX edge_receipts_to_send ON waypost.edge_receipts (id) WHERE sent_at IS NULL AND refused_at IS NULL;
      CREATE INDEX edge_receipts_to_check ON waypost.edge_receipts (id) WHERE sent_at IS NOT NULL AND included_at IS NULL;
      COMMENT ON TABLE waypost.edge_receipts IS 'Receipts that the device signed, one for each ack.';
      COMMENT ON COLUMN waypost.edge_receipts.included_at IS 'When the device verified that central''s ledger has it.';
      ALTER TABLE waypost.edge_acks ADD COLUMN receipt_id bigint;

      CREATE TABLE waypost.edge_ledger (
        id boolean PRIMARY KEY DEFAULT true CHECK (id),
        origin text NOT NULL,
        keys text[] NOT NULL,
        size bigint NOT NULL,
        root bytea NOT NULL,
        note text NOT NULL,
        seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
      );
      COMMENT ON TABLE waypost.edge_ledger IS 'The last checkpoint of central''s ledger that the device verified, and the keys that it is verified with.';

      CREATE TABLE waypost.edge_ledger_forks (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        found_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        reason text NOT NULL,
        seen text NOT NULL,
        received text NOT NULL,
        receipt text,
        reported_at timestamptz,
        resolved_at timestamptz
      );
      COMMENT ON TABLE waypost.edge_ledger_forks IS 'Checkpoints that do not continue what the device saw before: the alarm lasts until resolved_at is set.';`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TABLE waypost.edge_ledger_forks, waypost.edge_ledger;
      ALTER TABLE waypost.edge_acks DROP COLUMN receipt_id;
      DROP TABLE waypost.edge_receipts`);
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';
import { keepPrivate } from './keep-private.js';

/**
 * What tells that the database went back in time: the transaction that wrote the epoch, and the key of the receipts that devices get for what they
 * acknowledged. The epoch that is there goes on.
 */
export class CreateReceiptKeys1796200000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.receipt_keys (epoch text PRIMARY KEY, key bytea NOT NULL);
      COMMENT ON TABLE waypost.receipt_keys IS 'Secret: what receipts of acknowledgements are made with. For central alone.';`);
    await runner.query(keepPrivate('receipt_keys'));
    await runner.query(`
      INSERT INTO waypost.central_state SELECT 'written_by', xmin::text FROM waypost.central_state WHERE key = 'epoch';
      INSERT INTO waypost.receipt_keys SELECT value, ${RANDOM_KEY} FROM waypost.central_state WHERE key = 'epoch';`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP TABLE waypost.receipt_keys; DELETE FROM waypost.central_state WHERE key = 'written_by'`);
  }
}

/** 32 bytes of the server's strong random source. */
const RANDOM_KEY = 'sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))';

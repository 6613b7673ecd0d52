import type { MigrationInterface, QueryRunner } from 'typeorm';
import { keepPrivate } from './keep-private.js';

/** Keys of programs, and the audit of what operators and programs are refused. */
export class CreateApiKeys1797620000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.api_keys (
        id text PRIMARY KEY,
        name text NOT NULL UNIQUE,
        digest text NOT NULL,
        rights text[] NOT NULL CHECK (cardinality(rights) > 0),
        created_at timestamptz NOT NULL DEFAULT now(),
        created_by text NOT NULL,
        expires_at timestamptz NOT NULL,
        last_used_at timestamptz,
        revoked_at timestamptz
      );
      COMMENT ON TABLE waypost.api_keys IS 'Keys that programs show in X-API-Key, by their hashes.';
      COMMENT ON COLUMN waypost.api_keys.id IS 'ULID; part of the key itself.';
      COMMENT ON COLUMN waypost.api_keys.last_used_at IS 'To the minute.';

      ALTER TABLE waypost.sync_requests DROP CONSTRAINT sync_requests_operation_check;
      ALTER TABLE waypost.sync_requests ADD CONSTRAINT sync_requests_operation_check
        CHECK (operation IN ('request', 'download', 'ack', 'enroll', 'token', 'operator')) NOT VALID;
      COMMENT ON COLUMN waypost.requests_by_hour.operation IS 'request, download, ack, enroll, token or operator.';`);
    await runner.query(keepPrivate('api_keys'));
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DELETE FROM waypost.sync_requests WHERE operation = 'operator';
      ALTER TABLE waypost.sync_requests DROP CONSTRAINT sync_requests_operation_check;
      ALTER TABLE waypost.sync_requests ADD CONSTRAINT sync_requests_operation_check
        CHECK (operation IN ('request', 'download', 'ack', 'enroll', 'token')) NOT VALID;
      COMMENT ON COLUMN waypost.requests_by_hour.operation IS 'request, download, ack, enroll or token.';
      DROP TABLE waypost.api_keys`);
  }
}

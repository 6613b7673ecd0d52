import type { MigrationInterface, QueryRunner } from 'typeorm';
import { keepPrivate } from './keep-private.js';

/** Who devices are: their keys, the tokens with which they enroll, and the keys with which central signs access tokens. */
export class CreateIdentities1797600000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.devices (
        id text PRIMARY KEY,
        mac text UNIQUE,
        name text UNIQUE,
        created_at timestamptz NOT NULL DEFAULT now(),
        created_by text NOT NULL,
        revoked_at timestamptz,
        CHECK (mac IS NOT NULL OR name IS NOT NULL)
      );
      COMMENT ON TABLE waypost.devices IS 'Devices that may enroll, or did.';
      COMMENT ON COLUMN waypost.devices.mac IS 'Null until the device enrolls, where it was added by its name alone.';

      CREATE TABLE waypost.enrollment_tokens (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        digest text NOT NULL UNIQUE,
        device_id text REFERENCES waypost.devices ON DELETE CASCADE,
        uses_left int NOT NULL CHECK (uses_left >= 0),
        needs_approval boolean NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        created_by text NOT NULL,
        expires_at timestamptz NOT NULL
      );
      COMMENT ON TABLE waypost.enrollment_tokens IS 'One-time secrets, by their hashes.';
      COMMENT ON COLUMN waypost.enrollment_tokens.device_id IS 'Null: for any device that has not enrolled yet.';

      CREATE TABLE waypost.device_keys (
        thumbprint text PRIMARY KEY,
        device_id text NOT NULL REFERENCES waypost.devices ON DELETE CASCADE,
        public_key bytea NOT NULL,
        enrolled_with bigint NOT NULL,
        enrolled_at timestamptz NOT NULL DEFAULT now(),
        approved_at timestamptz,
        first_used_at timestamptz,
        last_used_at timestamptz,
        retired_at timestamptz,
        renewal text,
        previous_renewal text,
        cloned_at timestamptz
      );
      CREATE INDEX device_keys_by_device ON waypost.device_keys (device_id);
      COMMENT ON COLUMN waypost.device_keys.thumbprint IS 'RFC 7638, base64url.';
      COMMENT ON COLUMN waypost.device_keys.public_key IS 'Ed25519, 32 bytes.';
      COMMENT ON COLUMN waypost.device_keys.retired_at IS 'Since then the key is refused.';
      COMMENT ON COLUMN waypost.device_keys.renewal IS 'What came with the last access token; the device repeats it when it asks for the next.';
      COMMENT ON COLUMN waypost.device_keys.cloned_at IS 'When two machines with this key were noticed last.';

      CREATE TABLE waypost.used_assertions (id text PRIMARY KEY, expires_at timestamptz NOT NULL);
      CREATE INDEX used_assertions_by_expiry ON waypost.used_assertions (expires_at);
      COMMENT ON TABLE waypost.used_assertions IS 'What devices signed for an access token in the last minutes: none counts twice.';

      CREATE TABLE waypost.token_keys (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        seed bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
      );
      COMMENT ON TABLE waypost.token_keys IS 'Secret: Ed25519 keys that sign access tokens. For central alone.';

      INSERT INTO waypost.central_state VALUES ('fleet', ${RANDOM_ULID});

      ALTER TABLE waypost.sync_requests DROP CONSTRAINT sync_requests_operation_check;
      ALTER TABLE waypost.sync_requests ADD CONSTRAINT sync_requests_operation_check
        CHECK (operation IN ('request', 'download', 'ack', 'enroll', 'token')) NOT VALID;
      COMMENT ON COLUMN waypost.requests_by_hour.operation IS 'request, download, ack, enroll or token.';`);
    for (const table of ['token_keys', 'enrollment_tokens', 'used_assertions']) await runner.query(keepPrivate(table));
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DELETE FROM waypost.sync_requests WHERE operation IN ('enroll', 'token');
      ALTER TABLE waypost.sync_requests DROP CONSTRAINT sync_requests_operation_check;
      ALTER TABLE waypost.sync_requests ADD CONSTRAINT sync_requests_operation_check CHECK (operation IN ('request', 'download', 'ack'));
      COMMENT ON COLUMN waypost.requests_by_hour.operation IS 'request, download or ack.';
      DELETE FROM waypost.central_state WHERE key = 'fleet';
      DROP TABLE waypost.token_keys, waypost.used_assertions, waypost.device_keys, waypost.enrollment_tokens, waypost.devices`);
  }
}

/** 26 digits of Crockford's base 32 with 125 random bits, the first of them 0: a ULID whose time says nothing. */
const RANDOM_ULID = `(SELECT '0' || string_agg(substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', get_byte(bytes, at) % 32 + 1, 1), '' ORDER BY at)
  FROM (SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) AS bytes) AS r, generate_series(0, 24) AS at)`;

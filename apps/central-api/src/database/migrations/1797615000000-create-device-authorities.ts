import type { MigrationInterface, QueryRunner } from 'typeorm';
import { keepPrivate } from './keep-private.js';

/** Certificates with which devices show on TLS connections who they are. */
export class CreateDeviceAuthorities1797615000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.device_authorities (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        seed bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
      );
      COMMENT ON TABLE waypost.device_authorities IS 'Secret: Ed25519 keys that sign the certificates of devices. For central alone.';
      ALTER TABLE waypost.device_keys ADD COLUMN certificate_expires_at timestamptz;
      COMMENT ON COLUMN waypost.device_keys.certificate_expires_at IS 'Of the last client certificate that the device got with this key.';`);
    await runner.query(keepPrivate('device_authorities'));
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE waypost.device_keys DROP COLUMN certificate_expires_at;
      DROP TABLE waypost.device_authorities`);
  }
}

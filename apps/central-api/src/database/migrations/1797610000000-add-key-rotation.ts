import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Operators ask devices for new keys. */
export class AddKeyRotation1797610000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE waypost.devices ADD COLUMN rotate_keys_before timestamptz;
      COMMENT ON COLUMN waypost.devices.rotate_keys_before IS 'A key that was enrolled before is to be replaced by the device.';`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE waypost.devices DROP COLUMN rotate_keys_before');
  }
}

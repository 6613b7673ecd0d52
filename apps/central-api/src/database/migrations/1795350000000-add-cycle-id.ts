import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Requests, downloads and failed acks of one cycle of a device are one story. */
export class AddCycleId1795350000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE waypost.sync_requests ADD COLUMN cycle_id text');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE waypost.sync_requests DROP COLUMN cycle_id');
  }
}

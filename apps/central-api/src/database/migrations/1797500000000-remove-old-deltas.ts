import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Deltas of an earlier format, which devices do not read any more. They are made again when a device asks. */
export class RemoveOldDeltas1797500000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('TRUNCATE waypost.table_deltas, waypost.delta_parts');
  }

  async down(runner: QueryRunner): Promise<void> {
    await this.up(runner);
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

/** How many reports a device has sent of late is looked up with each of them. */
export class IndexDriftReportsByDevice1797410000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('CREATE INDEX drift_reports_by_device ON waypost.drift_reports (mac, reported_at)');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP INDEX waypost.drift_reports_by_device');
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Each cycle looks for ones whose process died: in a month of cycles, without reading them all. */
export class IndexRunningCycles1795600000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query("CREATE INDEX edge_sync_log_running ON waypost.edge_sync_log (id) WHERE status = 'Running'");
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP INDEX waypost.edge_sync_log_running');
  }
}

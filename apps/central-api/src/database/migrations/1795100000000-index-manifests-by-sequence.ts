import type { MigrationInterface, QueryRunner } from 'typeorm';

/** A device's last manifest is the one with the highest sequence, not the one with the latest time: clocks are set back. */
export class IndexManifestsBySequence1795100000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE INDEX manifests_by_sequence ON waypost.manifests (mac, epoch, sequence DESC);
      DROP INDEX waypost.manifests_by_device;`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE INDEX manifests_by_device ON waypost.manifests (mac, generated_at DESC);
      DROP INDEX waypost.manifests_by_sequence;`);
  }
}

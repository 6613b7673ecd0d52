import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Contents are marked before they are removed, as chunks are: builds go on meanwhile. */
export class MarkUnneededContents1796300000010 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE waypost.table_contents ADD unneeded boolean NOT NULL DEFAULT false;
      COMMENT ON COLUMN waypost.table_contents.unneeded IS 'About to be removed: no build may count on it any more.';`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE waypost.table_contents DROP unneeded');
  }
}

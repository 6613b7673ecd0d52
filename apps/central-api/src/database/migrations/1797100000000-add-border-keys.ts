import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Where the chunks of a content end: from it a changed key's chunk is found, and read alone. Contents stored before have none until they are read again. */
export class AddBorderKeys1797100000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE waypost.table_contents ADD border_keys bytea;
      -- Keys hardly compress, and are read as a whole.
      ALTER TABLE waypost.table_contents ALTER border_keys SET STORAGE EXTERNAL;
      COMMENT ON COLUMN waypost.table_contents.border_keys IS 'The key of each chunk''s last row, as COPY writes it. Null where an earlier release stored the content.';`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE waypost.table_contents DROP border_keys');
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * What a resumed download needs of a content without reading its whole index. Contents stored before have it once the first range of them is asked for. A
 * central of an earlier release that runs beside this one may store another index under the same id: then the trigger has it computed again.
 */
export class MarkFrames1797000000200 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE waypost.table_contents ADD index_sha256 bytea, ADD frame_marks bytea;
      -- Parts of it are read.
      ALTER TABLE waypost.table_contents ALTER frame_marks SET STORAGE EXTERNAL;
      COMMENT ON COLUMN waypost.table_contents.index_sha256 IS 'Of chunk_index: the ETag of the chunk stream. Null until the first range is asked for, where an earlier release stored it.';
      COMMENT ON COLUMN waypost.table_contents.frame_marks IS 'Where frames 16, 32, 48 and so on begin, counted from the first frame: 8 bytes each, big-endian.';

      CREATE FUNCTION waypost.forget_frame_marks() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        NEW.index_sha256 := NULL;
        NEW.frame_marks := NULL;
        RETURN NEW;
      END $$;
      CREATE TRIGGER forget_frame_marks BEFORE UPDATE OF chunk_index ON waypost.table_contents FOR EACH ROW
        WHEN (NEW.index_sha256 = OLD.index_sha256 AND NEW.chunk_index <> OLD.chunk_index) EXECUTE FUNCTION waypost.forget_frame_marks();`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TRIGGER forget_frame_marks ON waypost.table_contents;
      DROP FUNCTION waypost.forget_frame_marks();
      ALTER TABLE waypost.table_contents DROP index_sha256, DROP frame_marks`);
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Where the chunk store keeps what: which pack holds a chunk, and which chunks are a table's content. All of it can be built again. */
export class CreatePacks1795600000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.packs (
        pack_id text PRIMARY KEY,
        bytes bigint NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        retired_at timestamptz
      );

      CREATE TABLE waypost.chunks (
        digest bytea PRIMARY KEY,
        pack_id text NOT NULL REFERENCES waypost.packs ON DELETE CASCADE,
        start integer NOT NULL,
        frame_bytes integer NOT NULL,
        raw_bytes integer NOT NULL,
        crc32 bigint NOT NULL,
        unneeded boolean NOT NULL DEFAULT false
      );
      CREATE INDEX chunks_by_pack ON waypost.chunks (pack_id);
      CREATE INDEX chunks_unneeded ON waypost.chunks (digest) WHERE unneeded;

      CREATE TABLE waypost.table_contents (
        sha256 text NOT NULL,
        format text NOT NULL CHECK (format IN ('binary', 'text')),
        chunk_index bytea NOT NULL,
        row_count bigint NOT NULL,
        frame_bytes bigint NOT NULL,
        packs text[] NOT NULL,
        needed_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (sha256, format)
      );
      -- Digests do not compress, and parts of it are read.
      ALTER TABLE waypost.table_contents ALTER chunk_index SET STORAGE EXTERNAL;

      COMMENT ON TABLE waypost.packs IS 'Files of the chunk store. A file that is not listed here belongs to nobody.';
      COMMENT ON COLUMN waypost.packs.retired_at IS 'Since when all that was needed of it is in other packs.';
      COMMENT ON TABLE waypost.chunks IS 'Where the zstd frame of each chunk is; digest: SHA-256 of its canonical bytes.';
      COMMENT ON COLUMN waypost.chunks.crc32 IS 'Of the frame.';
      COMMENT ON COLUMN waypost.chunks.unneeded IS 'About to be removed: nobody may count on it any more.';
      COMMENT ON TABLE waypost.table_contents IS 'Tables as they were read: header and index of the chunk stream, and the packs that hold its frames.';
      COMMENT ON COLUMN waypost.table_contents.needed_at IS 'When it was stored, or when a live manifest was last seen to name it.';`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE waypost.table_contents, waypost.chunks, waypost.packs');
  }
}

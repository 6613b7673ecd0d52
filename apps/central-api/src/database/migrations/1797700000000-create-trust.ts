import type { MigrationInterface, QueryRunner } from 'typeorm';
import { keepPrivate } from './keep-private.js';

/** Which keys sign manifests, and who says so. */
export class CreateTrust1797700000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.trust_documents (
        version int PRIMARY KEY CHECK (version > 0),
        document json NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        created_by text NOT NULL
      );
      COMMENT ON TABLE waypost.trust_documents IS 'Names the keys that sign manifests; devices follow them from version to version.';
      COMMENT ON COLUMN waypost.trust_documents.document IS 'With the signatures of root keys.';

      CREATE TABLE waypost.signing_keys (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        use text NOT NULL CHECK (use IN ('root', 'manifest')),
        seed bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
      );
      COMMENT ON TABLE waypost.signing_keys IS 'Secret: Ed25519 keys that sign manifests, and trust documents while the root key is not offline. For central alone.';`);
    await runner.query(keepPrivate('signing_keys'));
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE waypost.signing_keys, waypost.trust_documents');
  }
}

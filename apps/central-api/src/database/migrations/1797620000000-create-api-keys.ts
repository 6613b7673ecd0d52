import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Keys of programs, and the audit of what operators and programs are refused. */
export class CreateApiKeys1797620000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.api_keys (
        id text PRIMARY KEY,
        name text NOT NULL UNIQUE,
        digest text NOT NULL,
        rights text[] NOT NULL CHECK (cardinality(rights) > 0),
        created_at timestamptz NOT NULL DEFAULT now(),
        created_by text NOT NULL,
        expires_at timestamptz NOT NULL,
        last_used_at timestamptz,
        revoked_at timestamptz
      );
      COMMENT ON TABLE waypost.api_keys IS 'Keys that programs show in X-API-Key, by their hashes.';
      COMMENT ON COLUMN waypost.api_keys.id IS 'ULID; part of the key itself.';
      COMMENT ON COLUMN waypost.api_keys.last_used_at IS 'To the minute.';

      DO $$
      DECLARE
        other text;
      BEGIN
        FOR other IN
          SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
          FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = 'waypost.api_keys'::regclass AND a.grantee <> c.relowner
        LOOP
          EXECUTE 'REVOKE ALL ON waypost.api_keys FROM ' || other;
        END LOOP;
      END $$;

      ALTER TABLE waypost.sync_requests DROP CONSTRAINT sync_requests_operation_check;
      ALTER TABLE waypost.sync_requests ADD CONSTRAINT sync_requests_operation_check
        CHECK (operation IN ('request', 'download', 'ack', 'enroll', 'token', 'operator')) NOT VALID;
      COMMENT ON COLUMN waypost.requests_by_hour.operation IS 'request, download, ack, enroll, token or operator.';`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DELETE FROM waypost.sync_requests WHERE operation = 'operator';
      ALTER TABLE waypost.sync_requests DROP CONSTRAINT sync_requests_operation_check;
      ALTER TABLE waypost.sync_requests ADD CONSTRAINT sync_requests_operation_check
        CHECK (operation IN ('request', 'download', 'ack', 'enroll', 'token')) NOT VALID;
      COMMENT ON COLUMN waypost.requests_by_hour.operation IS 'request, download, ack, enroll or token.';
      DROP TABLE waypost.api_keys`);
  }
}

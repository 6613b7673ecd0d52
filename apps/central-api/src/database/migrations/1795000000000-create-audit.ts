import type { MigrationInterface, QueryRunner } from 'typeorm';

export class CreateAudit1795000000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE SEQUENCE waypost.manifest_sequence;

      CREATE TABLE waypost.central_state (
        key text PRIMARY KEY,
        value text NOT NULL
      );

      CREATE TABLE waypost.manifests (
        manifest_id text PRIMARY KEY,
        epoch text NOT NULL,
        sequence bigint NOT NULL,
        mac text NOT NULL,
        generated_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        sha256 text NOT NULL,
        document json NOT NULL,
        UNIQUE (epoch, sequence)
      );
      CREATE INDEX manifests_by_device ON waypost.manifests (mac, generated_at DESC);
      CREATE INDEX manifests_by_expiry ON waypost.manifests (expires_at);

      CREATE TABLE waypost.sync_manifests (
        manifest_id text NOT NULL REFERENCES waypost.manifests ON DELETE CASCADE,
        table_name text NOT NULL,
        generated_at timestamptz NOT NULL,
        row_count bigint NOT NULL,
        sha256 text NOT NULL,
        format text NOT NULL CHECK (format IN ('binary', 'text')),
        filter_desc text NOT NULL,
        PRIMARY KEY (manifest_id, table_name)
      );

      CREATE TABLE waypost.sync_requests (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        mac text,
        manifest_id text,
        requested_at timestamptz NOT NULL,
        operation text NOT NULL CHECK (operation IN ('request', 'download', 'ack')),
        status text NOT NULL CHECK (status IN ('Issued', 'Refused', 'Failed')),
        reason text,
        duration_ms integer NOT NULL,
        request_id text NOT NULL
      );
      CREATE INDEX sync_requests_by_device ON waypost.sync_requests (mac, requested_at DESC);
      CREATE INDEX sync_requests_by_time ON waypost.sync_requests (requested_at);

      CREATE TABLE waypost.sync_acknowledgements (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        manifest_id text NOT NULL REFERENCES waypost.manifests ON DELETE CASCADE,
        mac text NOT NULL,
        completed_at timestamptz NOT NULL,
        result text NOT NULL CHECK (result IN ('Success', 'Failed')),
        reported_status text NOT NULL CHECK (reported_status IN ('Success', 'Failed')),
        duration_ms bigint NOT NULL,
        device_counts_json jsonb NOT NULL,
        device_hashes_json jsonb NOT NULL,
        error_text text,
        ack_sha256 text NOT NULL,
        UNIQUE (manifest_id, mac, ack_sha256)
      );
      CREATE UNIQUE INDEX sync_acknowledgements_one_success
        ON waypost.sync_acknowledgements (manifest_id, mac) WHERE result = 'Success';
      CREATE INDEX sync_acknowledgements_by_device ON waypost.sync_acknowledgements (mac, completed_at DESC);`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TABLE waypost.sync_acknowledgements, waypost.sync_requests, waypost.sync_manifests, waypost.manifests, waypost.central_state;
      DROP SEQUENCE waypost.manifest_sequence;`);
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';
import { keepPrivate } from './keep-private.js';

/** The ledger: a Merkle tree (RFC 9162) over receipts of devices, its checkpoints, and what devices found wrong with it. */
export class CreateLedger1797630000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE waypost.ledger_queue (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind text NOT NULL CHECK (kind IN ('receipt', 'polls')),
        device_id text NOT NULL,
        body text NOT NULL,
        signature text,
        ack_id bigint,
        queued_at timestamptz NOT NULL DEFAULT now()
      );
      COMMENT ON TABLE waypost.ledger_queue IS 'What is to be appended to the ledger: written together with the ack, removed together with the append.';
      COMMENT ON COLUMN waypost.ledger_queue.body IS 'Of a receipt what the device signed; of polls the whole entry.';

      CREATE TABLE waypost.ledger_entries (
        leaf bigint PRIMARY KEY,
        kind text NOT NULL,
        device_id text NOT NULL,
        receipt_sha256 bytea,
        appended_at timestamptz NOT NULL DEFAULT now(),
        entry text NOT NULL
      );
      CREATE INDEX ledger_entries_by_device ON waypost.ledger_entries (device_id, leaf);
      CREATE UNIQUE INDEX ledger_entries_by_receipt ON waypost.ledger_entries (receipt_sha256) WHERE receipt_sha256 IS NOT NULL;
      COMMENT ON TABLE waypost.ledger_entries IS 'The leaves of the ledger: rows are only added.';
      COMMENT ON COLUMN waypost.ledger_entries.entry IS 'The leaf''s data, as UTF-8.';

      CREATE TABLE waypost.ledger_tiles (
        level smallint NOT NULL,
        tile bigint NOT NULL,
        hashes bytea NOT NULL,
        PRIMARY KEY (level, tile)
      );
      -- Hashes do not compress, and parts of a tile are read.
      ALTER TABLE waypost.ledger_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;
      COMMENT ON TABLE waypost.ledger_tiles IS 'The ledger''s tree on every eighth level (C2SP tlog-tiles): up to 256 hashes of 32 bytes in a row.';

      CREATE TABLE waypost.ledger_head (
        id boolean PRIMARY KEY DEFAULT true CHECK (id),
        frontier bytea NOT NULL,
        polls_until timestamptz NOT NULL
      );
      INSERT INTO waypost.ledger_head (frontier, polls_until) VALUES (decode('0000000000000000', 'hex'), date_trunc('hour', now(), 'UTC'));
      COMMENT ON TABLE waypost.ledger_head IS 'What appending needs of the tree; locked by the process that appends.';
      COMMENT ON COLUMN waypost.ledger_head.polls_until IS 'Unchanged polls before it are in the ledger, or in its queue.';

      CREATE TABLE waypost.ledger_checkpoints (
        size bigint PRIMARY KEY,
        root bytea NOT NULL,
        note text NOT NULL,
        made_at timestamptz NOT NULL DEFAULT now()
      );
      CREATE INDEX ledger_checkpoints_by_time ON waypost.ledger_checkpoints (made_at);
      COMMENT ON COLUMN waypost.ledger_checkpoints.note IS 'C2SP tlog-checkpoint, signed.';

      CREATE TABLE waypost.ledger_chains (
        key text PRIMARY KEY,
        device_id text NOT NULL,
        sequence bigint NOT NULL,
        receipt_sha256 bytea NOT NULL,
        finding text,
        found_at timestamptz,
        findings integer NOT NULL DEFAULT 0
      );
      CREATE INDEX ledger_chains_by_device ON waypost.ledger_chains (device_id);
      CREATE INDEX ledger_chains_with_finding ON waypost.ledger_chains (found_at) WHERE finding IS NOT NULL;
      COMMENT ON TABLE waypost.ledger_chains IS 'The last receipt of each device key, and the last time that one did not continue the one before it.';

      CREATE TABLE waypost.ledger_forks (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        device_id text NOT NULL,
        reported_at timestamptz NOT NULL DEFAULT now(),
        reason text NOT NULL,
        seen text NOT NULL,
        received text NOT NULL,
        is_signed boolean NOT NULL,
        digest bytea NOT NULL,
        resolved_at timestamptz,
        UNIQUE (device_id, digest)
      );
      CREATE INDEX ledger_forks_open ON waypost.ledger_forks (reported_at) WHERE resolved_at IS NULL;
      COMMENT ON TABLE waypost.ledger_forks IS 'Checkpoints that devices saw and that do not belong to one history.';
      COMMENT ON COLUMN waypost.ledger_forks.digest IS 'SHA-256 of both.';
      COMMENT ON COLUMN waypost.ledger_forks.is_signed IS 'Both checkpoints carry a signature of this ledger.';

      CREATE TABLE waypost.ledger_keys (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        seed bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
      );
      COMMENT ON TABLE waypost.ledger_keys IS 'Secret: Ed25519 keys that sign checkpoints of the ledger. For central alone.';
      INSERT INTO waypost.ledger_keys (seed)
      SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

      ALTER TABLE waypost.sync_requests DROP CONSTRAINT sync_requests_operation_check;
      ALTER TABLE waypost.sync_requests ADD CONSTRAINT sync_requests_operation_check
        CHECK (operation IN ('request', 'download', 'ack', 'enroll', 'token', 'operator', 'ledger')) NOT VALID;
      COMMENT ON COLUMN waypost.requests_by_hour.operation IS 'request, download, ack, enroll, token, operator or ledger.';`);
    await runner.query(keepPrivate('ledger_keys'));
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DELETE FROM waypost.sync_requests WHERE operation = 'ledger';
      ALTER TABLE waypost.sync_requests DROP CONSTRAINT sync_requests_operation_check;
      ALTER TABLE waypost.sync_requests ADD CONSTRAINT sync_requests_operation_check
        CHECK (operation IN ('request', 'download', 'ack', 'enroll', 'token', 'operator')) NOT VALID;
      COMMENT ON COLUMN waypost.requests_by_hour.operation IS 'request, download, ack, enroll, token or operator.';
      DROP TABLE waypost.ledger_keys, waypost.ledger_forks, waypost.ledger_chains, waypost.ledger_checkpoints, waypost.ledger_head,
        waypost.ledger_tiles, waypost.ledger_entries, waypost.ledger_queue`);
  }
}

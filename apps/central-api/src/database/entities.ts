import { Column, Entity, PrimaryColumn, PrimaryGeneratedColumn } from 'typeorm';

/** One request of a device, answered or refused: the audit of who asked for what, when, and what came of it. */
@Entity({ schema: 'waypost', name: 'sync_requests' })
export class SyncRequestRow {
  @PrimaryGeneratedColumn('identity', { type: 'bigint' })
  id!: string;

  /** Normalized; as it was sent where it is malformed; null where the request could not be read. */
  @Column('text', { nullable: true })
  mac!: string | null;

  @Column('text', { name: 'manifest_id', nullable: true })
  manifestId!: string | null;

  @Column('timestamptz', { name: 'requested_at' })
  requestedAt!: Date;

  @Column('text')
  operation!: 'request' | 'download' | 'ack';

  @Column('text')
  status!: 'Issued' | 'Refused' | 'Failed';

  /** The error's code, for what was refused or failed; `unchanged` where the device's last manifest still holds. */
  @Column('text', { nullable: true })
  reason!: string | null;

  @Column('integer', { name: 'duration_ms' })
  durationMs!: number;

  /** Under this id the log has the request. */
  @Column('text', { name: 'request_id' })
  requestId!: string;

  /** The device's sync cycle, under whose id both logs have what belongs to it; null where the client names none. */
  @Column('text', { name: 'cycle_id', nullable: true })
  cycleId!: string | null;
}

/** A manifest as it was issued. */
@Entity({ schema: 'waypost', name: 'manifests' })
export class ManifestRow {
  @PrimaryColumn('text', { name: 'manifest_id' })
  manifestId!: string;

  @Column('text')
  epoch!: string;

  @Column('bigint')
  sequence!: string;

  @Column('text')
  mac!: string;

  @Column('timestamptz', { name: 'generated_at' })
  generatedAt!: Date;

  @Column('timestamptz', { name: 'expires_at' })
  expiresAt!: Date;

  @Column('text')
  sha256!: string;

  /** The whole manifest. `json`, not `jsonb`: its text stays as it was hashed. */
  @Column('json')
  document!: unknown;
}

/** One table of a manifest. */
@Entity({ schema: 'waypost', name: 'sync_manifests' })
export class ManifestTableRow {
  @PrimaryColumn('text', { name: 'manifest_id' })
  manifestId!: string;

  @PrimaryColumn('text', { name: 'table_name' })
  tableName!: string;

  @Column('timestamptz', { name: 'generated_at' })
  generatedAt!: Date;

  @Column('bigint', { name: 'row_count' })
  rowCount!: string;

  @Column('text')
  sha256!: string;

  @Column('text')
  format!: string;

  /** The plan's expression and the values of its parameters. */
  @Column('text', { name: 'filter_desc' })
  filterDesc!: string;
}

/** What a device said it holds, and what central makes of it. */
@Entity({ schema: 'waypost', name: 'sync_acknowledgements' })
export class AcknowledgementRow {
  @PrimaryGeneratedColumn('identity', { type: 'bigint' })
  id!: string;

  @Column('text', { name: 'manifest_id' })
  manifestId!: string;

  @Column('text')
  mac!: string;

  @Column('timestamptz', { name: 'completed_at' })
  completedAt!: Date;

  @Column('text')
  result!: 'Success' | 'Failed';

  /** What the device itself said; differs from `result` where its hashes or counts are wrong. */
  @Column('text', { name: 'reported_status' })
  reportedStatus!: 'Success' | 'Failed';

  /** On the device: from its request to its commit. */
  @Column('bigint', { name: 'duration_ms' })
  durationMs!: string;

  @Column('jsonb', { name: 'device_counts_json' })
  deviceCounts!: Record<string, number>;

  @Column('jsonb', { name: 'device_hashes_json' })
  deviceHashes!: Record<string, string>;

  @Column('text', { name: 'error_text', nullable: true })
  errorText!: string | null;

  /** SHA-256 of the ack's canonical JSON: the same ack again is stored once. */
  @Column('text', { name: 'ack_sha256' })
  ackSha256!: string;
}

/** Facts about this central database, such as its epoch. */
@Entity({ schema: 'waypost', name: 'central_state' })
export class CentralStateRow {
  @PrimaryColumn('text')
  key!: string;

  @Column('text')
  value!: string;
}

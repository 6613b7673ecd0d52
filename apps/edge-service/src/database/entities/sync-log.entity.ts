import { Column, Entity, PrimaryColumn } from 'typeorm';

export type SyncStatus = 'Running' | 'Success' | 'Unchanged' | 'Failed';

/** One cycle, from its start to its outcome. */
@Entity({ schema: 'waypost', name: 'edge_sync_log' })
export class SyncLogEntity {
  /** The cycle's id, a ULID. */
  @PrimaryColumn({ type: 'text' })
  id!: string;

  @Column({ name: 'manifest_id', type: 'text', nullable: true })
  manifestId!: string | null;

  @Column({ name: 'started_at', type: 'timestamptz' })
  startedAt!: Date;

  @Column({ name: 'completed_at', type: 'timestamptz', nullable: true })
  completedAt!: Date | null;

  @Column({ type: 'text' })
  status!: SyncStatus;

  @Column({ name: 'duration_ms', type: 'int8', nullable: true })
  durationMs!: string | null;

  @Column({ name: 'error_code', type: 'text', nullable: true })
  errorCode!: string | null;

  @Column({ name: 'error_text', type: 'text', nullable: true })
  errorText!: string | null;

  @Column({ type: 'text' })
  trigger!: string;

  @Column({ name: 'downloaded_bytes', type: 'int8', default: 0 })
  downloadedBytes!: string;

  @Column({ name: 'rows_loaded', type: 'int8', default: 0 })
  rowsLoaded!: string;
}

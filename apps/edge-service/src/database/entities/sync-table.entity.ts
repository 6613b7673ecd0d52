import { Column, Entity, PrimaryColumn } from 'typeorm';

/** What a finished cycle found or made of each table of its manifest. */
@Entity({ schema: 'waypost', name: 'edge_sync_tables' })
export class SyncTableEntity {
  @PrimaryColumn({ name: 'edge_sync_id', type: 'text' })
  edgeSyncId!: string;

  @PrimaryColumn({ name: 'table_name', type: 'text' })
  tableName!: string;

  @Column({ name: 'row_count', type: 'int8' })
  rowCount!: string;

  @Column({ type: 'text' })
  sha256!: string;

  @Column({ type: 'text' })
  action!: 'loaded' | 'unchanged';

  @Column({ name: 'downloaded_bytes', type: 'int8' })
  downloadedBytes!: string;
}

import { Column, Entity, PrimaryColumn } from 'typeorm';

/** What the device holds as a whole; state/mirror-state.ts names the keys. */
@Entity({ schema: 'waypost', name: 'edge_sync_state' })
export class SyncStateEntity {
  @PrimaryColumn({ type: 'text' })
  key!: string;

  @Column({ type: 'text' })
  value!: string;
}

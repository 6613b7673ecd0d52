import { Column, Entity, PrimaryColumn } from 'typeorm';

/** The hash of a mirrored table's rows when they were last read back and hashed here. */
@Entity({ schema: 'waypost', name: 'edge_mirror_tables' })
export class MirrorTableEntity {
  /** Spelled as in the manifest. */
  @PrimaryColumn({ name: 'table_name', type: 'text' })
  tableName!: string;

  @Column({ type: 'text' })
  sha256!: string;

  @Column({ name: 'row_count', type: 'int8' })
  rowCount!: string;

  @Column({ type: 'text' })
  format!: string;

  /** The manifest that it was hashed for. */
  @Column({ name: 'manifest_id', type: 'text' })
  manifestId!: string;

  /** The table as SQL names it, quoted. */
  @Column({ type: 'text' })
  relation!: string;

  /** Where its rows lay then: another place means that it was dropped, truncated or rewritten. */
  @Column({ type: 'text' })
  storage!: string;

  @Column({ name: 'verified_at', type: 'timestamptz' })
  verifiedAt!: Date;
}

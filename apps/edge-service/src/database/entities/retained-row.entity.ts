import { Column, Entity, PrimaryColumn } from 'typeorm';

/** A row that left the device's share and stays because rows of the device's own reference it. */
@Entity({ schema: 'waypost', name: 'edge_kept_rows' })
export class RetainedRowEntity {
  /** Spelled as in the manifest. */
  @PrimaryColumn({ name: 'table_name', type: 'text' })
  tableName!: string;

  /** The key's columns as PostgreSQL prints a row: `(5)`, `(5,"a b")`. */
  @PrimaryColumn({ name: 'row_key', type: 'text' })
  rowKey!: string;

  /** One of the references that keep it, as `<table> (<constraint>)`. */
  @Column({ name: 'referenced_by', type: 'text' })
  referencedBy!: string;

  @Column({ name: 'kept_since', type: 'timestamptz' })
  keptSince!: Date;
}

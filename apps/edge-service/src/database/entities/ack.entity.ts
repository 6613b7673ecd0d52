import type { Ack } from '@waypost/contracts';
import { Column, Entity, PrimaryColumn } from 'typeorm';

/** An acknowledgement that central does not have yet, or refused for good. */
@Entity({ schema: 'waypost', name: 'edge_acks' })
export class AckEntity {
  @PrimaryColumn({ name: 'manifest_id', type: 'text' })
  manifestId!: string;

  @PrimaryColumn({ type: 'text' })
  status!: 'Success' | 'Failed';

  @Column({ type: 'json' })
  body!: Ack;

  @Column({ name: 'created_at', type: 'timestamptz' })
  createdAt!: Date;

  @Column({ type: 'int4' })
  attempts!: number;

  @Column({ name: 'last_error', type: 'text', nullable: true })
  lastError!: string | null;

  /** Set when central refused it for good: kept for the operator, not sent again. */
  @Column({ name: 'refused_at', type: 'timestamptz', nullable: true })
  refusedAt!: Date | null;

  /** The receipt that was signed for it; null where the device had not enrolled. */
  @Column({ name: 'receipt_id', type: 'int8', nullable: true })
  receiptId!: string | null;
}

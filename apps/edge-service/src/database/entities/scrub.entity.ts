import { Column, Entity, PrimaryColumn } from 'typeorm';

/** `request`: by POST /api/sync/scrub. */
export type ScrubTrigger = 'schedule' | 'request';

/** How far a scrub has come. */
export interface ScrubProgress {
  /** Tables that are done, by the manifest's names. */
  done: string[];
  /** Of the table in progress: when its reading began, and border keys up to which it has been read, in hex: the last ones. */
  reading?: { table: string; since: string; keys: string[] };
}

const count = { from: Number, to: (value: number) => value };

/** A reading of all that the device holds, from its start to its end. */
@Entity({ schema: 'waypost', name: 'edge_scrubs' })
export class ScrubEntity {
  /** A ULID. */
  @PrimaryColumn({ type: 'text' })
  id!: string;

  @Column({ type: 'text' })
  trigger!: ScrubTrigger;

  @Column({ name: 'started_at', type: 'timestamptz' })
  startedAt!: Date;

  /** Null while it runs, and where it was interrupted. */
  @Column({ name: 'completed_at', type: 'timestamptz', nullable: true })
  completedAt!: Date | null;

  @Column({ type: 'int4', default: 0 })
  tables!: number;

  @Column({ type: 'int8', default: 0, transformer: count })
  chunks!: number;

  @Column({ type: 'int8', default: 0, transformer: count })
  rows!: number;

  /** Of canonical rows. */
  @Column({ name: 'raw_bytes', type: 'int8', default: 0, transformer: count })
  rawBytes!: number;

  /** Null before its first slice, and when it is complete. */
  @Column({ type: 'jsonb', nullable: true })
  progress!: ScrubProgress | null;

  /** The cycle that put right what it found. */
  @Column({ name: 'repair_cycle_id', type: 'text', nullable: true })
  repairCycleId!: string | null;
}

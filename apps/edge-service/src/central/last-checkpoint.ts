import { Injectable } from '@nestjs/common';
import { CHECKPOINT_HEADER } from '@waypost/contracts';

/** A longer header is none of central's. */
const MAX_HEADER_CHARS = 8192;

/** What central said of its ledger since it was asked last. */
export interface Heard {
  /** Central answered a request. */
  isAnswered: boolean;
  /** The checkpoint that came with the last answer, unchecked; undefined where that had none. */
  note: string | undefined;
  /** Central accepted an ack: its receipt is to be in the ledger soon. */
  hasAcked: boolean;
}

const NOTHING: Heard = { isAnswered: false, note: undefined, hasAcked: false };

/** Keeps what central's answers say of its ledger until the witness takes it. */
@Injectable()
export class LastCheckpoint {
  private heard = NOTHING;

  /** @param headers of an answer to a request for a manifest */
  receive({ [CHECKPOINT_HEADER]: header }: Record<string, string | string[] | undefined>): void {
    const note = typeof header === 'string' && header.length <= MAX_HEADER_CHARS ? Buffer.from(header, 'base64').toString() : undefined;
    this.heard = { ...this.heard, isAnswered: true, note };
  }

  acknowledged(): void {
    this.heard = { ...this.heard, hasAcked: true };
  }

  /** What was heard since the last call. */
  take(): Heard {
    const { heard } = this;
    this.heard = NOTHING;
    return heard;
  }
}

import { Injectable } from '@nestjs/common';
import { CHECKPOINT_HEADER } from '@waypost/contracts';

/** A longer header is none of central's. */
const MAX_HEADER_CHARS = 8192;

/** The checkpoint of central's ledger that came with the last answer to a request, unchecked. */
@Injectable()
export class LastCheckpoint {
  private note: string | undefined;

  receive({ [CHECKPOINT_HEADER]: header }: Record<string, string | string[] | undefined>): void {
    if (typeof header === 'string' && header.length <= MAX_HEADER_CHARS) this.note = Buffer.from(header, 'base64').toString();
  }

  /** Undefined where none came since the last call. */
  take(): string | undefined {
    const { note } = this;
    this.note = undefined;
    return note;
  }
}

import { Injectable } from '@nestjs/common';

/** The newest checkpoint that this process knows of: answers carry it, and cost no statement for it. It may be a second old. */
@Injectable()
export class LedgerCheckpoints {
  private newest: { size: number; note: string; header: string } | undefined;

  /** The value of CHECKPOINT_HEADER; undefined before the ledger has an entry. */
  get header(): string | undefined {
    return this.newest?.header;
  }

  get size(): number {
    return this.newest?.size ?? 0;
  }

  note({ size, note }: { size: number; note: string }): void {
    // One of the same size is another one where a new key signed it.
    if (this.newest?.note !== note) this.newest = { size, note, header: Buffer.from(note).toString('base64') };
  }
}

import { Injectable } from '@nestjs/common';

/** The newest checkpoint that this process knows of: answers carry it, and cost no statement for it. It may be a second old. */
@Injectable()
export class LedgerCheckpoints {
  private newest: { size: number; header: string } | undefined;

  /** The value of CHECKPOINT_HEADER; undefined before the ledger has an entry. */
  get header(): string | undefined {
    return this.newest?.header;
  }

  get size(): number {
    return this.newest?.size ?? 0;
  }

  note({ size, note }: { size: number; note: string }): void {
    if (this.newest?.size !== size) this.newest = { size, header: Buffer.from(note).toString('base64') };
  }
}

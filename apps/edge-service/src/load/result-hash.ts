import { createHash } from 'node:crypto';
import { type ChunkIndex, sha256, WaypostError } from '@waypost/contracts';
import type { ChunkChange } from '../chunk-source/change-source.js';

/** The hash of the table that whole chunks lead to, while they are put in the place of others. */
export class ResultHash {
  private readonly hash = createHash('sha256');
  private place = 0;

  constructor(private readonly held: ChunkIndex) {}

  /** @param chunk what comes in the place of the change's old chunks: one whole chunk, or nothing */
  add({ first, end }: ChunkChange, chunk: Buffer): void {
    this.keepUntil(first);
    if (chunk.length > 0) this.hash.update(sha256(chunk));
    this.place = end;
  }

  /** @throws WaypostError CHUNK_CORRUPT where it is another one */
  check(expected: string): void {
    this.keepUntil(this.held.length);
    if (this.hash.digest('hex') === expected) return;
    throw new WaypostError('CHUNK_CORRUPT', { detail: 'The chunks that came, with those that stay, are not those of the table.' });
  }

  private keepUntil(end: number): void {
    for (; this.place < end; this.place += 1) this.hash.update(this.held.entry(this.place).digest);
  }
}

import { type ChunkEntry, sha256, WaypostError } from '@waypost/contracts';
import { decompress, releaseMemory, ZSTD_SLACK_BYTES } from '@waypost/runtime';

/**
 * Restores a chunk from its frame, and proves that it is the one that the index names.
 * @throws WaypostError CHUNK_CORRUPT
 */
export function openChunk(frame: Buffer, { digest, rawBytes }: ChunkEntry): Buffer {
  const chunk = decompress(frame, rawBytes);
  if (!sha256(chunk).equals(digest)) throw new WaypostError('CHUNK_CORRUPT', { detail: 'A chunk is not the one that its index names.' });
  return chunk;
}

/**
 * As openChunk, where only the proof is wanted. The chunk's memory is freed at once: V8 lets some 64 MB of such buffers pile up before
 * it collects them.
 */
export function checkChunk(frame: Buffer, entry: ChunkEntry): void {
  releaseMemory(openChunk(frame, entry), ZSTD_SLACK_BYTES);
}

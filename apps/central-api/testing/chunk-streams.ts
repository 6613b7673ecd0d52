import { ChunkIndex, sha256 } from '@waypost/contracts';
import { decompress } from '@waypost/runtime';

/** Takes a whole chunk stream apart, as an edge would, and checks each chunk. */
export function readTable(stream: Buffer): { index: ChunkIndex; rows: Buffer } {
  const indexBytes = ChunkIndex.encodedBytes(stream);
  const index = ChunkIndex.decode(stream.subarray(0, indexBytes));
  const chunks: Buffer[] = [];
  let at = indexBytes;
  for (const { digest, rawBytes, frameBytes } of index) {
    const chunk = decompress(stream.subarray(at, at + frameBytes), rawBytes);
    if (!sha256(chunk).equals(digest)) throw new Error(`chunk ${chunks.length} has another digest than its index says`);
    chunks.push(chunk);
    at += frameBytes;
  }
  if (at !== stream.length) throw new Error(`${stream.length - at} bytes follow the last chunk`);
  return { index, rows: Buffer.concat(chunks) };
}

/**
 * Releases a buffer's memory at once. V8 collects such buffers only after some 64 MB, and walks the whole heap each time: for 1,000,000
 * rows that was 1.7 s of the edge's CPU, and 50 MB.
 * The caller must hold the only reference to the buffer, and must not use it afterwards.
 * @param slackBytes how much longer the memory may be than the buffer; longer memory may be shared with other buffers and is left alone
 */
export function releaseMemory({ buffer, byteLength }: Buffer, slackBytes = 0): void {
  if (!(buffer instanceof ArrayBuffer) || buffer.byteLength > byteLength + slackBytes || buffer.byteLength === Buffer.poolSize) return;
  buffer.transfer(0);
}

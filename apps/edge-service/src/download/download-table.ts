import { WaypostError } from '@waypost/contracts';
import { releaseMemory } from '@waypost/runtime';
import type { CentralCircuit } from '../central/central-circuit.js';
import type { CentralClient, ChunkStreamAnswer } from '../central/central-client.js';
import { assertBefore, type StallOptions, withStallTimeout } from '../central/with-stall-timeout.js';
import { shuttingDown } from '../central/race-abort.js';
import { corrupt } from '../chunk-source/check-index.js';
import type { InterruptedStream } from './interrupted-stream.js';
import type { SpooledTable } from './spooled-table.js';
import { StreamReceiver } from './stream-receiver.js';

export interface Transfer {
  client: CentralClient;
  circuit: CentralCircuit;
  manifestId: string;
  watch: StallOptions;
  signal: AbortSignal;
  /** Chunks that need not be downloaded again. */
  interrupted?: InterruptedStream | undefined;
  onBytes: (count: number) => void;
}

/**
 * Downloads the rest of a table's chunk stream. A transfer that breaks is resumed behind the last good chunk, for as long as each try
 * adds at least one chunk, and a few times without.
 * @throws WaypostError CHUNK_CORRUPT, TRANSFER_STALLED, DEADLINE_EXCEEDED, CENTRAL_UNREACHABLE, SHUTTING_DOWN, and what central refuses with
 */
export async function downloadTable(spooled: SpooledTable, transfer: Transfer): Promise<void> {
  while (!spooled.complete) {
    assertBefore(transfer.watch.endsAtMs);
    await transfer.interrupted?.fill(spooled, transfer.signal);
    if (spooled.complete) return;
    const before = spooled.length;
    try {
      await transfer.circuit.run(() => transferOnce(spooled, transfer), transfer.signal);
    } catch (error) {
      if (error instanceof WaypostError && error.code === 'STORAGE_FAILED') await transfer.interrupted?.remove();
      const goesOn = error instanceof WaypostError && error.heals === 'retry' && error.code !== 'SHUTTING_DOWN';
      if (!goesOn || spooled.length <= before || error.code === 'DEADLINE_EXCEEDED') throw error;
    }
  }
}

async function transferOnce(spooled: SpooledTable, { client, manifestId, watch, signal, interrupted, onBytes }: Transfer): Promise<void> {
  if (spooled.complete) return;
  const table = spooled.expected.name;
  const resume = spooled.length > 0 && spooled.etag !== undefined ? { offset: spooled.length, etag: spooled.etag } : undefined;
  const answer = await client.openChunkStream({ manifestId, table, resume }, signal).catch(async (error: unknown) => {
    if (error instanceof WaypostError && error.code === 'RANGE_INVALID') await spooled.restart(undefined);
    throw error;
  });
  await prepare(spooled, answer);
  const receiver = new StreamReceiver(spooled);
  let isIndexNew = spooled.index === undefined;
  try {
    for await (const bytes of withStallTimeout(answer.body, watch)) {
      if (signal.aborted) throw shuttingDown();
      onBytes(bytes.length);
      await receiver.push(bytes);
      releaseMemory(bytes);
      if (!isIndexNew || !spooled.index) continue;
      isIndexNew = false;
      if (interrupted?.hasNext(spooled)) return; // the caller asks for the rest behind those chunks
    }
  } finally {
    await receiver.settle();
  }
  if (!spooled.complete) throw corrupt(spooled.expected, `it ended after ${spooled.length} of ${spooled.expected.streamBytes} bytes`);
}

/** Checks that the answer continues what is on disk. */
async function prepare(spooled: SpooledTable, { body, offset, contentLength, etag }: ChunkStreamAnswer): Promise<void> {
  try {
    if (offset === 0) await spooled.restart(etag);
    if (offset !== spooled.length) throw corrupt(spooled.expected, `its range starts at ${offset}, ${spooled.length} was asked for`);
    const rest = spooled.expected.streamBytes - offset;
    if (contentLength !== undefined && contentLength !== rest) {
      throw corrupt(spooled.expected, `${contentLength} bytes are announced, the manifest leaves ${rest}`);
    }
  } catch (error) {
    body.on('error', () => undefined).destroy();
    throw error;
  }
}

import { type ErrorCode, WaypostError } from '@waypost/contracts';
import { releaseMemory } from '@waypost/runtime';
import type { DeltaStart } from '../central/central-client.js';
import { RefusedAnswer } from '../central/central-errors.js';
import { assertBefore, withStallTimeout } from '../central/with-stall-timeout.js';
import { shuttingDown } from '../central/race-abort.js';
import type { Transfer } from './download-table.js';
import type { SpooledDelta } from './spooled-delta.js';

/**
 * Downloads the rest of a delta. A transfer that breaks is resumed for as long as each try adds something, and a few times without.
 * @returns why there is none, where the table itself is to be downloaded
 * @throws WaypostError TRANSFER_STALLED, DEADLINE_EXCEEDED, CENTRAL_UNREACHABLE, SHUTTING_DOWN, STORAGE_FAILED
 */
export async function downloadDelta(
  spooled: SpooledDelta,
  start: DeltaStart,
  transfer: Omit<Transfer, 'interrupted'>,
): Promise<string | undefined> {
  while (!spooled.complete) {
    assertBefore(transfer.watch.endsAtMs);
    const before = spooled.length;
    try {
      const refusal = await transfer.circuit.run(() => refusable(() => transferOnce(spooled, start, transfer)), transfer.signal);
      if (refusal !== undefined) return refusal;
    } catch (error) {
      const goesOn = error instanceof WaypostError && error.heals === 'retry' && error.code !== 'SHUTTING_DOWN';
      if (!goesOn || spooled.length <= before || error.code === 'DEADLINE_EXCEEDED') throw error;
    }
  }
  return undefined;
}

/** An answer of central that there is none, and a damaged one, are no failure: the table's own chunks remain. */
async function refusable(work: () => Promise<void>): Promise<string | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (!(error instanceof WaypostError)) throw error;
    const isRefused = error.cause instanceof RefusedAnswer && isFinal(error.cause);
    if (error.code === 'CHUNK_CORRUPT' || isRefused) return error.detail ?? error.message;
    throw error;
  }
}

/** Whether the same request would be refused again. What stands before central may refuse a method or a long body, without a code. */
function isFinal({ status, code }: RefusedAnswer): boolean {
  if (code === undefined) return WITHOUT_CODE.has(status);
  return status < 500 && !AGAIN.has(code);
}

const WITHOUT_CODE = new Set([404, 405, 411, 413, 415]);
const AGAIN: ReadonlySet<string> = new Set<ErrorCode>(['RANGE_INVALID', 'REQUEST_CORRUPT', 'REQUEST_TIMEOUT']);

async function transferOnce(
  spooled: SpooledDelta,
  start: DeltaStart,
  { client, manifestId, watch, signal, onBytes }: Omit<Transfer, 'interrupted'>,
): Promise<void> {
  const table = spooled.expected.table.name;
  const resume = spooled.length > 0 && spooled.etag !== undefined ? { offset: spooled.length, etag: spooled.etag } : undefined;
  const { body, offset, etag } = await client.openDelta({ manifestId, table, start, resume }, signal).catch(async (error: unknown) => {
    if (error instanceof WaypostError && error.code === 'RANGE_INVALID') await spooled.restart(undefined);
    throw error;
  });
  if (offset === 0) await spooled.restart(etag);
  if (offset !== spooled.length) {
    body.on('error', () => undefined).destroy();
    throw new WaypostError('CHUNK_CORRUPT', { detail: `A delta's range starts at ${offset}, ${spooled.length} was asked for.` });
  }
  for await (const bytes of withStallTimeout(body, watch)) {
    if (signal.aborted) throw shuttingDown();
    onBytes(bytes.length);
    await spooled.append(bytes);
    releaseMemory(bytes);
  }
  if (!spooled.complete)
    throw new WaypostError('CENTRAL_UNREACHABLE', { detail: `The delta of ${table} ended after ${spooled.length} bytes.` });
}

import { BUNDLE_FORMAT, bundleLine, formatVerifierKey, sealLine, WaypostError } from '@waypost/contracts';
import type { Query } from '@waypost/runtime';
import { readLedgerKeys } from '../trust/read-ledger-keys.js';
import { LedgerTree, type StoredCheckpoint } from '../ledger/ledger-tree.js';
import { CHECKPOINT_BEFORE, READ_DEVICE_KEYS, READ_ENTRIES } from './ledger.sql.js';

export interface ExportOptions {
  deviceId: string;
  /** What was appended since then; null: from the beginning. */
  from: Date | null;
  /** And before then. */
  to: Date;
}

interface EntryRow {
  index: number;
  entry: string;
}

const BATCH = 500;

/**
 * A bundle of one device's entries, line by line: docs/ledger.md describes it. To be called in one snapshot.
 * @throws WaypostError LEDGER_NOT_FOUND for a ledger without entries
 */
export async function* exportLedger(query: Query, { deviceId, from, to }: ExportOptions): AsyncGenerator<string> {
  const tree = new LedgerTree(query);
  const { origin, signer, verifiers } = await readLedgerKeys(query);
  const newest = await tree.newestCheckpoint();
  if (!newest) throw new WaypostError('LEDGER_NOT_FOUND', { detail: 'The ledger has no entry yet.' });
  const keys = await query<{ thumbprint: string; publicKey: Buffer }>(READ_DEVICE_KEYS, [deviceId]);
  const entries = await readEntries(query, { deviceId, from, to }, newest.size);
  const lines = [
    bundleLine({
      format: BUNDLE_FORMAT,
      version: 1,
      device: deviceId,
      from: from?.toISOString() ?? null,
      to: to.toISOString(),
      origin,
      keys: verifiers.map(formatVerifierKey),
      deviceKeys: keys.map(({ thumbprint, publicKey }) => ({ thumbprint, publicKey: publicKey.toString('base64url') })),
      checkpoint: newest.note,
      earlier: await earlierThan(newest, from, { query, tree }),
      entries: entries.length,
    }),
  ];
  yield lines[0] as string;
  for (let at = 0; at < entries.length; at += BATCH) {
    const batch = entries.slice(at, at + BATCH);
    const proofs = await tree.inclusionProofs(
      batch.map(({ index }) => index),
      newest.size,
    );
    for (const [of, { index, entry }] of batch.entries()) {
      const line = bundleLine({ index, entry, proof: proofs[of] });
      lines.push(line);
      yield line;
    }
  }
  yield sealLine(origin, lines, signer);
}

async function readEntries(query: Query, { deviceId, from, to }: ExportOptions, size: number): Promise<EntryRow[]> {
  const entries: EntryRow[] = [];
  for (let first = 0; ;) {
    const rows = await query<EntryRow>(READ_ENTRIES, [first, BATCH, deviceId, from, to]);
    entries.push(...rows.filter(({ index }) => index < size).map(({ index, entry }) => ({ index, entry })));
    if (rows.length < BATCH) return entries;
    first = (rows.at(-1) as EntryRow).index + 1;
  }
}

/** The checkpoint that was in force when the bundle's time began: what the reader may have seen then. */
async function earlierThan(
  newest: StoredCheckpoint,
  from: Date | null,
  { query, tree }: { query: Query; tree: LedgerTree },
): Promise<object[]> {
  const [before] = from ? await query<StoredCheckpoint>(CHECKPOINT_BEFORE, [from]) : [];
  return before ? [{ checkpoint: before.note, proof: await tree.consistencyProof(before.size, newest.size) }] : [];
}

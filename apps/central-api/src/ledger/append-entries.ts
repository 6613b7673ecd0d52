import {
  canonicalJson,
  formatEntry,
  Frontier,
  HASH_BYTES,
  leafHash,
  parseReceipt,
  type Receipt,
  receiptSha256,
  sha256Hex,
  signCheckpoint,
  TILE_HEIGHT,
  TILE_WIDTH,
} from '@waypost/contracts';
import { type Query, queryOn, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import { readLedgerKeys } from '../trust/read-ledger-keys.js';
import { type ChainEnd, findChainFault } from './follow-chain.js';
import { APPEND, DROP_QUEUED, FIND_KNOWN, LOCK_HEAD, MAX_BATCH, READ_CHAINS, READ_QUEUE } from './ledger.sql.js';

/** A row of READ_QUEUE. */
interface Queued {
  id: string;
  kind: 'receipt' | 'polls';
  deviceId: string;
  body: string;
  signature: string | null;
  ack: { id: number } | null;
}

interface NewEntry extends Pick<Queued, 'kind' | 'deviceId'> {
  text: string;
  receipt?: { content: Receipt; sha256: string };
}

/** A receipt that did not continue its chain. */
export interface ChainFinding {
  deviceId: string;
  key: string;
  finding: string;
}

export interface Appended {
  /** The newest checkpoint, where something was appended. */
  checkpoint?: { size: number; note: string };
  findings: ChainFinding[];
  /** More may wait. */
  isFull: boolean;
}

/**
 * Appends what waits longest in the queue: leaves, tiles, frontier, checkpoint and chains become true together. A receipt that the ledger has is dropped.
 * @returns undefined where another process appends
 */
export async function appendEntries(client: pg.ClientBase): Promise<Appended | undefined> {
  const query = queryOn(client);
  return withTransaction(client, 'READ WRITE', async () => {
    const [head] = await query<{ frontier: Buffer }>(LOCK_HEAD);
    if (!head) return undefined;
    const queued = await query<Queued>(READ_QUEUE);
    const ids = queued.map(({ id }) => id);
    const isFull = queued.length === MAX_BATCH;
    const entries = await withoutKnown(query, queued.map(entryOf));
    if (entries.length === 0) {
      if (ids.length > 0) await query(DROP_QUEUED, [ids]);
      return { findings: [], isFull };
    }
    const frontier = Frontier.decode(head.frontier);
    const first = frontier.size;
    const tiles = addLeaves(frontier, entries);
    const [size, root] = [frontier.size, frontier.root()];
    // Read with the head locked, as it is where the key is replaced: none signs with the one before.
    const { origin, signer } = await readLedgerKeys(query);
    const note = signCheckpoint({ origin, size, root, extensions: [] }, [signer]);
    const { chains, findings } = await followChains(query, entries);
    await query(APPEND, [
      entries.map((_, at) => first + at),
      entries.map(({ kind }) => kind),
      entries.map(({ deviceId }) => deviceId),
      entries.map(({ receipt }) => (receipt ? Buffer.from(receipt.sha256, 'hex') : null)),
      entries.map(({ text }) => text).join('\n'),
      tiles.map(({ level }) => level),
      tiles.map(({ tile }) => tile),
      tiles.map(({ hashes }) => Buffer.concat(hashes, hashes.length * HASH_BYTES)),
      frontier.encode(),
      size,
      root,
      note,
      chains.map(({ key }) => key),
      chains.map(({ deviceId }) => deviceId),
      chains.map(({ sequence }) => sequence),
      chains.map(({ receiptSha256: hash }) => Buffer.from(hash, 'hex')),
      chains.map(({ finding }) => finding ?? null),
      ids,
    ]);
    return { checkpoint: { size, note }, findings, isFull };
  });
}

/** SHA-256 of the row of an ack, by which its entry says what central's audit held. @param facts as ackFacts gives them */
export function ackRowSha256(facts: object): string {
  return sha256Hex(canonicalJson(facts));
}

function entryOf({ kind, deviceId, body, signature, ack }: Queued): NewEntry {
  if (kind === 'polls') return { kind, deviceId, text: body };
  // In the order of the canonical form, which is then one native call.
  const text = formatEntry({
    ack: ack && { id: ack.id, sha256: ackRowSha256(ack) },
    kind,
    receipt: body,
    signature: signature as string,
    version: 1,
  });
  return { kind, deviceId, text, receipt: { content: parseReceipt(body), sha256: receiptSha256(body) } };
}

async function withoutKnown(query: Query, entries: readonly NewEntry[]): Promise<NewEntry[]> {
  const hashes = entries.flatMap(({ receipt }) => (receipt ? [Buffer.from(receipt.sha256, 'hex')] : []));
  const rows = hashes.length === 0 ? [] : await query<{ hash: Buffer }>(FIND_KNOWN, [hashes]);
  const known = new Set(rows.map(({ hash }) => hash.toString('hex')));
  return entries.filter(({ receipt }) => {
    if (!receipt) return true;
    if (known.has(receipt.sha256)) return false;
    known.add(receipt.sha256);
    return true;
  });
}

interface TilePart {
  level: number;
  tile: number;
  hashes: Buffer[];
}

/** @returns what each tile gets */
function addLeaves(frontier: Frontier, entries: readonly NewEntry[]): TilePart[] {
  const tiles = new Map<string, TilePart>();
  for (const { text } of entries) {
    for (const { level, index, hash } of frontier.append(leafHash(Buffer.from(text)))) {
      if (level % TILE_HEIGHT !== 0) continue;
      const part = { level: level / TILE_HEIGHT, tile: Math.floor(index / TILE_WIDTH), hashes: [] };
      const name = `${part.level} ${part.tile}`;
      const known = tiles.get(name) ?? part;
      known.hashes.push(hash);
      tiles.set(name, known);
    }
  }
  return [...tiles.values()];
}

type ChainUpdate = ChainEnd & { key: string; deviceId: string; finding?: string };

async function followChains(query: Query, entries: readonly NewEntry[]): Promise<{ chains: ChainUpdate[]; findings: ChainFinding[] }> {
  const receipts = entries.flatMap(({ deviceId, receipt }) => (receipt ? [{ deviceId, ...receipt }] : []));
  const keys = [...new Set(receipts.map(({ content }) => content.key))];
  const rows = keys.length === 0 ? [] : await query<ChainEnd & { key: string }>(READ_CHAINS, [keys]);
  const ends = new Map<string, ChainEnd>(rows.map((row) => [row.key, row]));
  const updates = new Map<string, ChainUpdate>();
  const findings: ChainFinding[] = [];
  for (const { deviceId, content, sha256 } of receipts) {
    const { key, sequence } = content;
    const end = ends.get(key);
    const finding = findChainFault(end, content);
    if (finding !== undefined) findings.push({ deviceId, key, finding });
    // The highest stays the end: one that came late is no step back.
    const next = end && end.sequence > sequence ? end : { sequence, receiptSha256: sha256 };
    ends.set(key, next);
    const last = finding ?? updates.get(key)?.finding;
    updates.set(key, { key, deviceId, ...next, ...(last === undefined ? {} : { finding: last }) });
  }
  return { chains: [...updates.values()], findings };
}

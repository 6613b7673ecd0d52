import { Inject, Injectable } from '@nestjs/common';
import { Readable } from 'node:stream';
import {
  ChunkIndex,
  type EnclosedDeltas,
  INDEX_ENTRY_BYTES,
  type Manifest,
  type ManifestTable,
  MAX_ENCLOSED_BYTES,
  MAX_NAMED_CHUNKS,
  type NamedChunks,
  sha256,
  WaypostError,
} from '@waypost/contracts';
import { faultPoint, LOGGER } from '@waypost/runtime';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { SNAPSHOT_STORE, type SnapshotStore } from '../chunk-store/snapshot-store.js';
import { DeltaStore } from '../deltas/delta-store.js';
import { matchDelta, type MatchedDelta } from '../deltas/match-delta.js';
import { getManifest } from './find-manifest.js';

/** A delta stream, or the rest of one. */
export interface Delta {
  body: Readable;
  length: number;
  etag: string;
  contentRange?: string;
}

interface DeltaRange {
  /** Of `bytes=<from>-`. */
  from: number;
  /** Of what the device has of it. */
  etag: string | undefined;
  /** Nothing is to be sent, so nothing of it is read. */
  isHead: boolean;
}

/** Finds what leads a device from the table that it holds to that of its manifest. */
@Injectable()
export class DeltaService {
  constructor(
    private readonly dataSource: DataSource,
    private readonly deltas: DeltaStore,
    @Inject(SNAPSHOT_STORE) private readonly store: SnapshotStore,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * @param table of the device's manifest
   * @param base the manifest that the device holds, one of its own
   * @throws WaypostError MANIFEST_UNKNOWN, MANIFEST_NOT_YOURS of the base; DELTA_NONE, RANGE_INVALID, SNAPSHOT_MISSING
   */
  async find(table: ManifestTable, { base, mac }: { base: string; mac: string }, { isHead, ...range }: DeltaRange): Promise<Delta> {
    const held = (await getManifest(this.dataSource.manager, base, mac)).tables.find(({ name }) => name === table.name);
    if (!held) throw none(table, `the manifest ${base} has no such table`);
    if (held.format !== table.format) throw none(table, 'its rows are in another format than before');
    const delta = await this.deltas.get(held, table);
    if (typeof delta === 'string') throw none(table, delta);
    const { deltaId, bytes } = delta;
    return rangeOf({ etag: `"${deltaId}"`, bytes }, range, (from) => (isHead ? nothing() : this.deltas.read(delta, from)));
  }

  /**
   * Short deltas that are at hand, so that a device gets them with its manifest and need not ask for them. What cannot be found is left out.
   * @param base the manifest that the device holds
   * @param maxBytes of all of them
   */
  async enclose({ tables }: Manifest, { base, mac }: { base: string; mac: string }, maxBytes: number): Promise<EnclosedDeltas['deltas']> {
    const deltas: EnclosedDeltas['deltas'] = {};
    let rest = Math.min(maxBytes, MAX_ENCLOSED_BYTES);
    try {
      const held = new Map((await getManifest(this.dataSource.manager, base, mac)).tables.map((table) => [table.name, table]));
      for (const table of tables) {
        const from = held.get(table.name);
        if (!from || from.format !== table.format || from.sha256 === table.sha256) continue;
        const delta = await this.deltas.getShort(from, table, rest);
        if (!delta) continue;
        deltas[table.name] = delta.toString('base64');
        rest -= delta.length;
      }
    } catch (error) {
      this.logger.warn({ err: error, base }, 'the manifest goes without deltas: the device asks for them');
    }
    return deltas;
  }

  /**
   * As `find`, where the device names the chunks that it holds: what it lacks, chunk by chunk. Memory holds 72 bytes for each of these while they are sent.
   * @throws WaypostError DELTA_NONE, RANGE_INVALID, SNAPSHOT_MISSING
   */
  async match(table: ManifestTable, held: NamedChunks, range: Omit<DeltaRange, 'isHead'>): Promise<Delta> {
    const index = await this.readIndex(table);
    const delta = matchDelta(held, table, index);
    if (typeof delta === 'string') throw none(table, delta);
    const { head, bytes } = delta;
    return rangeOf({ etag: `"${sha256(head).toString('hex')}"`, bytes }, range, (from) => this.send(table, delta, from));
  }

  private async readIndex(table: ManifestTable): Promise<ChunkIndex> {
    const size = await this.store.measureStream(table, { isWhole: false });
    if (size && size.indexBytes > MAX_INDEX_BYTES) throw none(table, 'it has too many chunks to compare them');
    const stored = size && (await this.store.find(table));
    if (!stored) throw new WaypostError('SNAPSHOT_MISSING', { detail: `The snapshot of ${table.name} is not in the store, or not whole.` });
    return ChunkIndex.decode(stored.index);
  }

  private async *send(table: ManifestTable, { head, chunks }: MatchedDelta, from: number): AsyncGenerator<Buffer> {
    if (from < head.length) yield head.subarray(from);
    await faultPoint('central.chunks-matched');
    yield* this.store.openChunks(table, chunks, Math.max(0, from - head.length));
  }
}

/** Of a table with twice as many chunks as a device can name. */
const MAX_INDEX_BYTES = 2 * MAX_NAMED_CHUNKS * INDEX_ENTRY_BYTES;

/** @throws WaypostError RANGE_INVALID */
function rangeOf(
  { etag, bytes }: { etag: string; bytes: number },
  range: Omit<DeltaRange, 'isHead'>,
  read: (from: number) => AsyncIterable<Buffer>,
): Delta {
  const from = range.etag === undefined || range.etag === etag ? range.from : 0;
  if (from >= bytes) throw new WaypostError('RANGE_INVALID', { detail: `The delta has ${bytes} bytes.` });
  const body = Readable.from(read(from), { objectMode: false, highWaterMark: 1 });
  return { body, length: bytes - from, etag, ...(from > 0 ? { contentRange: `bytes ${from}-${bytes - 1}/${bytes}` } : {}) };
}

async function* nothing(): AsyncGenerator<Buffer> {}

function none({ name }: ManifestTable, why: string): WaypostError {
  return new WaypostError('DELTA_NONE', { detail: `There is no delta of ${name}: ${why}.` });
}

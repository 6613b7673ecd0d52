import { z } from 'zod';
import { type ChunkEntry, INDEX_ENTRY_BYTES, readEntry, writeEntry } from './chunk-stream.js';
import { WaypostError } from './errors.js';
import { manifestSchema, type ManifestTable, manifestTableSchema } from './manifest.js';

/**
 * A first sync as it happens: the rows while central still reads them, then the manifest that proves them. Offered where the device accepts this type in
 * its request; central may still answer with plain JSON. docs/sync-protocol.md describes it byte by byte.
 */
export const LIVE_STREAM_TYPE = 'application/vnd.waypost.live';

/** Type (1 byte), three zero bytes, length of what follows (4 bytes, big-endian). */
export const LIVE_HEAD_BYTES = 8;

/** `preamble`: JSON, first. `table`: the next table of the preamble begins. `chunk`: index entry and frame. `truncated`: no more chunks will come. `signature`: JSON, of the manifest. `manifest`: JSON, last. */
const TYPES = { preamble: 0x44, table: 0x54, chunk: 0x43, truncated: 0x47, signature: 0x53, manifest: 0x4d } as const;
export type LiveRecordType = keyof typeof TYPES;

/** What a table looks like, before its rows are known. */
export type TableShape = Pick<ManifestTable, 'name' | 'format' | 'columns' | 'key' | 'onReferenced'>;

const tableShapeSchema = manifestTableSchema.pick({ name: true, format: true, columns: true, key: true, onReferenced: true });

/** The fields of a manifest that are known before the rows. */
export const preambleSchema = manifestSchema.pick({ schemaVersion: true, types: true }).extend({ tables: z.array(tableShapeSchema) });
export type Preamble = z.infer<typeof preambleSchema>;

/** What a device's mirror looks like. The preamble of a live stream, which only makes new tables, has neither defaults nor fingerprints. */
export type MirrorShape = Pick<Preamble, 'types'> & { tables: (TableShape & Pick<ManifestTable, 'defaults' | 'shape'>)[] };

/** The head of a record, to be followed by `length` bytes. */
export function liveHead(type: LiveRecordType, length: number): Buffer {
  const head = Buffer.alloc(LIVE_HEAD_BYTES);
  head.writeUInt8(TYPES[type]);
  head.writeUInt32BE(length, 4);
  return head;
}

/** A chunk's record but for its frame. */
export function liveChunkHead(entry: ChunkEntry): Buffer {
  const bytes = Buffer.alloc(LIVE_HEAD_BYTES + INDEX_ENTRY_BYTES);
  liveHead('chunk', INDEX_ENTRY_BYTES + entry.frameBytes).copy(bytes);
  writeEntry(bytes, LIVE_HEAD_BYTES, entry);
  return bytes;
}

/** @throws WaypostError CHUNK_CORRUPT */
export function readLiveHead(bytes: Buffer): { type: LiveRecordType; length: number } {
  const type = (Object.keys(TYPES) as LiveRecordType[]).find((name) => TYPES[name] === bytes.readUInt8());
  if (type === undefined || bytes.readUIntBE(1, 3) !== 0) throw corrupt('a record has an unknown type');
  return { type, length: bytes.readUInt32BE(4) };
}

/**
 * Reads the entry that a chunk's record starts with.
 * @param length of the record
 * @throws WaypostError CHUNK_CORRUPT
 */
export function readLiveEntry(bytes: Buffer, length: number): ChunkEntry {
  const entry = readEntry(bytes, 0);
  if (length !== INDEX_ENTRY_BYTES + entry.frameBytes) throw corrupt('a chunk’s record has another length than its entry says');
  return entry;
}

function corrupt(why: string): WaypostError {
  return new WaypostError('CHUNK_CORRUPT', { detail: `A live stream is damaged: ${why}.` });
}

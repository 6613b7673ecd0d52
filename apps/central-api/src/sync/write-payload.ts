import { createGzip, createZstdCompress } from 'node:zlib';
import type { Transform } from 'node:stream';
import { canonicalJson, Chunker, type Manifest } from '@waypost/contracts';
import { copyOutStatement } from '@waypost/runtime';
import type pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import type { Snapshot, TableSnapshot } from '../snapshots/build-snapshot.js';

export type PayloadForm = 'json' | 'ndjson';

export const PAYLOAD_TYPES: Record<PayloadForm, string> = {
  json: 'application/json; charset=utf-8',
  ndjson: 'application/x-ndjson; charset=utf-8',
};

/** Pieces of about this size go to the socket, not single rows. */
const PIECE_BYTES = 64 << 10;
/** Of a row of COPY BINARY with one field: the field count and the field's length. */
const ROW_OVERHEAD_BYTES = 6;

/**
 * The rows of a snapshot as text, read once more in its own transaction, so that they are exactly what the manifest speaks of.
 * PostgreSQL writes the JSON; memory is flat.
 *
 * `json`: `{"manifest": …, "payload": {"<table>": [<row>, …], …}}`. `ndjson`: a line `{"manifest": …}`, a line
 * `{"table": …, "row": …}` per row, and a last line `{"end": true, "rows": n}`, without which the stream is not whole.
 */
export async function* writePayload(
  form: PayloadForm,
  manifest: Manifest,
  snapshot: Snapshot,
  client: pg.ClientBase,
): AsyncGenerator<Buffer> {
  const head = canonicalJson(manifest);
  yield Buffer.from(form === 'json' ? `{"manifest":${head},"payload":{` : `{"manifest":${head}}\n`);
  let rows = 0;
  for (const [at, table] of snapshot.tables.entries()) {
    const name = JSON.stringify(table.table.name);
    if (form === 'json') yield Buffer.from(`${at > 0 ? ',' : ''}${name}:[`);
    const frame =
      form === 'json'
        ? { first: '', prefix: ',', suffix: '' }
        : { first: `{"table":${name},"row":`, prefix: `{"table":${name},"row":`, suffix: '}\n' };
    rows += yield* writeRows(table, frame, client);
    if (form === 'json') yield Buffer.from(']');
  }
  yield Buffer.from(form === 'json' ? '}}' : `{"end":true,"rows":${rows}}\n`);
}

interface RowFrame {
  first: string;
  prefix: string;
  suffix: string;
}

async function* writeRows({ query }: TableSnapshot, frame: RowFrame, client: pg.ClientBase): AsyncGenerator<Buffer, number> {
  // Raw line breaks occur only in the white space of json columns; a line must not have them.
  const json = `SELECT pg_catalog.translate(pg_catalog.row_to_json(r)::text, E'\\n\\r', '  ') FROM (${query}) AS r`;
  const prefix = Buffer.from(frame.prefix);
  const suffix = Buffer.from(frame.suffix);
  let rows = 0;
  let pieces: Buffer[] = [];
  const chunker = new Chunker({ format: 'binary', fieldCount: 1, keyFields: [0] }, (bytes) => {
    for (let at = 0; at < bytes.length;) {
      const end = at + ROW_OVERHEAD_BYTES + bytes.readInt32BE(at + 2);
      pieces.push(rows === 0 ? Buffer.from(frame.first) : prefix, Buffer.from(bytes.subarray(at + ROW_OVERHEAD_BYTES, end)), suffix);
      rows += 1;
      at = end;
    }
  });
  for await (const input of client.query(copyTo(copyOutStatement(json, 'binary')))) {
    chunker.push(input as Buffer);
    if (pieces.length > 0) {
      yield* splitPieces(Buffer.concat(pieces));
      pieces = [];
    }
  }
  chunker.end();
  if (pieces.length > 0) yield Buffer.concat(pieces);
  return rows;
}

function* splitPieces(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
}

/** The encoding to answer with: zstd before gzip, none if the client names neither or refuses both. */
export function chooseEncoding(acceptEncoding: string | undefined): 'zstd' | 'gzip' | undefined {
  const accepted = (acceptEncoding ?? '')
    .toLowerCase()
    .split(',')
    .map((part) => part.trim().split(/\s*;\s*q=/))
    .filter(([, quality]) => quality === undefined || Number(quality) > 0)
    .map(([name]) => name);
  return (['zstd', 'gzip'] as const).find((encoding) => accepted.includes(encoding));
}

export function createEncoder(encoding: 'zstd' | 'gzip'): Transform {
  return encoding === 'zstd' ? createZstdCompress() : createGzip({ level: 1 });
}

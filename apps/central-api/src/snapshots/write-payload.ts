import { canonicalJson, Chunker, type Manifest } from '@waypost/contracts';
import { openCopyOut } from '@waypost/runtime';
import type pg from 'pg';
import type { Snapshot, TableSnapshot } from './build-snapshot.js';

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
      form === 'json' ? { prefix: '', separator: ',', suffix: '' } : { prefix: `{"table":${name},"row":`, separator: '', suffix: '}\n' };
    rows += yield* writeRows(table, frame, client);
    if (form === 'json') yield Buffer.from(']');
  }
  yield Buffer.from(form === 'json' ? '}}' : `{"end":true,"rows":${rows}}\n`);
}

/** What stands around each row's JSON. */
interface RowFrame {
  prefix: string;
  separator: string;
  suffix: string;
}

async function* writeRows({ query }: TableSnapshot, frame: RowFrame, client: pg.ClientBase): AsyncGenerator<Buffer, number> {
  // Raw line breaks occur only in the white space of json columns; a line must not have them.
  const json = `SELECT pg_catalog.translate(pg_catalog.row_to_json(r.*)::text, E'\\n\\r', '  ') FROM (${query}) AS r`;
  const first = Buffer.from(frame.prefix);
  const between = Buffer.from(frame.suffix + frame.separator + frame.prefix);
  let rows = 0;
  let pieces: Buffer[] = [];
  const chunker = new Chunker({ format: 'binary', fieldCount: 1, keyFields: [] }, (bytes, rowCount) => {
    // A row's framing gives way to what stands between two rows.
    const piece = Buffer.allocUnsafe(first.length + bytes.length + rowCount * between.length);
    let used = 0;
    for (let at = 0; at < bytes.length; rows += 1) {
      used += (rows === 0 ? first : between).copy(piece, used);
      const start = at + ROW_OVERHEAD_BYTES;
      at = start + bytes.readInt32BE(at + 2);
      used += bytes.copy(piece, used, start, at);
    }
    pieces.push(piece.subarray(0, used));
  });
  const flush = function* (): Generator<Buffer> {
    for (const piece of pieces) yield* splitPieces(piece);
    pieces = [];
  };
  for await (const input of openCopyOut(client, json, 'binary')) {
    chunker.push(input as Buffer);
    yield* flush();
  }
  chunker.end();
  yield* flush();
  if (rows > 0) yield Buffer.from(frame.suffix);
  return rows;
}

function* splitPieces(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
}

import { HEADER_BYTES, INDEX_ENTRY_BYTES } from '@waypost/contracts';
import { MARK_BYTES, MARKED_CHUNKS } from './frame-marks.js';

/** Digests travel as one value, one after another: $1. How many: $2. */
const WANTED = `(SELECT at, substr($1::bytea, at * 32 + 1, 32) AS digest FROM generate_series(0, $2::integer - 1) AS at) AS wanted`;

/** Those chunks that are stored, for callers that rely on them: not those that are about to go. */
export const LOOK_UP = `
  SELECT at, pack_id AS "packId", frame_bytes AS "frameBytes" FROM ${WANTED} JOIN waypost.chunks USING (digest) WHERE NOT unneeded`;

/** Where the chunks of a content are. Without LIMIT, PostgreSQL may read all chunks in place of looking these up one by one. */
export const LOCATE = `
  SELECT at, pack_id AS "packId", start, frame_bytes AS "frameBytes", crc32::float8 AS crc32
  FROM ${WANTED} CROSS JOIN LATERAL (SELECT * FROM waypost.chunks WHERE digest = wanted.digest LIMIT 1) AS place ORDER BY at`;

/**
 * SQL condition, always true: the current transaction commits without waiting for the disk. Only for what is bookkeeping until a manifest names it: the commit
 * of the manifest, which does wait, makes everything durable that was committed before it. What a crash takes before is written again (docs/adr/0041).
 */
export const LAZILY = "set_config('synchronous_commit', 'off', true) = 'off'";

/** $1: id, $2: bytes. */
export const ADD_PACK = 'INSERT INTO waypost.packs (pack_id, bytes) VALUES ($1, $2)';

/**
 * $1, $2: digests, $3: pack, $4…$7: start, frame_bytes, raw_bytes, crc32 of each, $8: bytes of the pack. A chunk that another build has stored meanwhile stays
 * where it is; one that was about to go stays, here. In the order of their digests, so that two writers do not wait for each other in a circle.
 */
export const ADD_CHUNKS = `
  WITH pack AS (INSERT INTO waypost.packs (pack_id, bytes) VALUES ($3, $8))
  INSERT INTO waypost.chunks AS chunk (digest, pack_id, start, frame_bytes, raw_bytes, crc32)
  SELECT digest, $3, ($4::integer[])[at + 1], ($5::integer[])[at + 1], ($6::integer[])[at + 1], ($7::bigint[])[at + 1]
  FROM ${WANTED} WHERE ${LAZILY} ORDER BY digest
  ON CONFLICT (digest) DO UPDATE SET pack_id = excluded.pack_id, start = excluded.start, frame_bytes = excluded.frame_bytes,
    crc32 = excluded.crc32, unneeded = false WHERE chunk.unneeded
  RETURNING true AS added`;

export const SUM_PACKS = 'SELECT coalesce(sum(bytes), 0)::float8 AS bytes FROM waypost.packs';

/** $1: pack. */
export const READ_PACK = 'SELECT bytes::float8 AS bytes FROM waypost.packs WHERE pack_id = $1';

/**
 * $1: sha256, $2: format, $3: index, $4: rows, $5: bytes of all frames, $6: packs, $7: SHA-256 of the index, $8: marks, $9: border keys. What is
 * the same already is not written again.
 */
export const ADD_CONTENT = `
  INSERT INTO waypost.table_contents AS content (sha256, format, chunk_index, row_count, frame_bytes, packs, index_sha256, frame_marks, border_keys)
  SELECT $1, $2, $3::bytea, $4::bigint, $5::bigint, $6::text[], $7::bytea, $8::bytea, $9::bytea WHERE ${LAZILY}
  ON CONFLICT (sha256, format) DO UPDATE SET chunk_index = excluded.chunk_index, row_count = excluded.row_count,
    frame_bytes = excluded.frame_bytes, packs = excluded.packs, index_sha256 = excluded.index_sha256, frame_marks = excluded.frame_marks,
    border_keys = excluded.border_keys, needed_at = now(), unneeded = false
  WHERE content.unneeded OR content.packs <> excluded.packs OR content.index_sha256 IS DISTINCT FROM excluded.index_sha256
    OR content.border_keys IS DISTINCT FROM excluded.border_keys`;

/** $1: sha256, $2: format. */
export const READ_BORDERS = 'SELECT border_keys AS borders FROM waypost.table_contents WHERE sha256 = $1 AND format = $2';

/** $1: sha256, $2: format, $3: SHA-256 of the index that the marks are of, $4: marks. */
export const ADD_MARKS = `
  UPDATE waypost.table_contents SET index_sha256 = $3, frame_marks = $4
  WHERE sha256 = $1 AND format = $2 AND index_sha256 IS NULL AND pg_catalog.sha256(chunk_index) = $3`;

/** $1: sha256, $2: format. Reads nothing of the index. */
export const MEASURE_CONTENT = `
  SELECT index_sha256 AS "indexSha256", octet_length(chunk_index) AS "indexBytes", frame_bytes::float8 AS "frameBytes"
  FROM waypost.table_contents WHERE sha256 = $1 AND format = $2`;

/** $1: sha256, $2: format, $3: SHA-256 of the index: nothing where it has been replaced. */
const CONTENT = 'waypost.table_contents WHERE sha256 = $1 AND format = $2 AND index_sha256 = $3';

/** $4: from which byte, $5: how many. */
export const READ_INDEX_PART = `SELECT substr(chunk_index, $4::integer + 1, $5::integer) AS bytes FROM ${CONTENT}`;

const mark = (block: string): string =>
  `('x' || encode(substr(frame_marks, (${block} - 1) * ${MARK_BYTES} + 1, ${MARK_BYTES}), 'hex'))::bit(64)::bigint`;
const BLOCK_BYTES = MARKED_CHUNKS * INDEX_ENTRY_BYTES;

/** $4: a position among the frames. The last block of chunks that begins at or before it, by bisection: each step reads one mark. */
export const FIND_BLOCK = `
  WITH RECURSIVE block(low, high) AS (
    SELECT 0, length(frame_marks) / ${MARK_BYTES} FROM ${CONTENT}
    UNION ALL
    SELECT CASE WHEN is_before THEN middle ELSE low END, CASE WHEN is_before THEN high ELSE middle - 1 END
    FROM block CROSS JOIN LATERAL (SELECT (low + high + 1) / 2 AS middle) AS halved
    CROSS JOIN LATERAL (SELECT ${mark('middle')} <= $4::bigint AS is_before FROM ${CONTENT}) AS compared
    WHERE low < high
  )
  SELECT low * ${MARKED_CHUNKS} AS "firstChunk", (CASE WHEN low = 0 THEN 0 ELSE ${mark('low')} END)::float8 AS start,
         substr(chunk_index, ${HEADER_BYTES + 1} + low * ${BLOCK_BYTES}, ${BLOCK_BYTES}) AS entries
  FROM block CROSS JOIN LATERAL (SELECT frame_marks, chunk_index FROM ${CONTENT}) AS content WHERE low = high`;

/** $4: first chunk, $5: how many. Their entries in the index, and where they are, if they are stored; one by one, as above. */
export const LOCATE_PART = `
  SELECT at, substr(entries, at * ${INDEX_ENTRY_BYTES} + 1, ${INDEX_ENTRY_BYTES}) AS entry,
         pack_id AS "packId", start, frame_bytes AS "frameBytes", crc32::float8 AS crc32
  FROM (
    SELECT substr(chunk_index, ${HEADER_BYTES + 1} + $4::integer * ${INDEX_ENTRY_BYTES}, $5::integer * ${INDEX_ENTRY_BYTES}) AS entries
    FROM ${CONTENT} OFFSET 0
  ) AS part
  CROSS JOIN generate_series(0, $5::integer - 1) AS at
  LEFT JOIN LATERAL (
    SELECT pack_id, start, frame_bytes, crc32 FROM waypost.chunks WHERE digest = substr(entries, at * ${INDEX_ENTRY_BYTES} + 1, 32) LIMIT 1
  ) AS place ON true
  ORDER BY at`;

/** $1: sha256, $2: format. */
export const READ_INDEX = 'SELECT chunk_index AS "index" FROM waypost.table_contents WHERE sha256 = $1 AND format = $2';

/** $1: sha256, $2: format, $3: whether with its index. A pack that is not there any more has no bytes. */
export const FIND_CONTENT = `
  SELECT CASE WHEN $3 THEN chunk_index END AS "index", index_sha256 AS "indexSha256", frame_bytes::float8 AS "frameBytes", packs,
         ARRAY(SELECT p.bytes::float8 FROM unnest(packs) WITH ORDINALITY AS of(pack_id, at) LEFT JOIN waypost.packs p USING (pack_id) ORDER BY at)
           AS "packBytes"
  FROM waypost.table_contents WHERE sha256 = $1 AND format = $2`;

/** $1: sha256, $2: format. */
export const FORGET_CONTENT = 'DELETE FROM waypost.table_contents WHERE sha256 = $1 AND format = $2';

/** $1: pack. */
export const FORGET_PACK = [
  'DELETE FROM waypost.table_contents WHERE $1 = ANY(packs)',
  'DELETE FROM waypost.packs WHERE pack_id = $1',
] as const;

/** $1: digest, $2: the pack that it is damaged in. */
export const FORGET_CHUNK = `
  WITH chunk AS (DELETE FROM waypost.chunks WHERE digest = $1 AND pack_id = $2)
  DELETE FROM waypost.table_contents WHERE $2 = ANY(packs) AND position($1 IN chunk_index) > 0`;

/** Digests of all contents. The concatenation brings each index into memory once, and not once per digest. */
export const NEEDED = `
  SELECT DISTINCT substr(bytes, ${HEADER_BYTES + 1} + ${INDEX_ENTRY_BYTES} * at, 32) AS digest
  FROM (SELECT chunk_index || ''::bytea AS bytes FROM waypost.table_contents OFFSET 0) AS content
  CROSS JOIN LATERAL generate_series(0, (length(bytes) - ${HEADER_BYTES}) / ${INDEX_ENTRY_BYTES} - 1) AS at`;

/** $1: pack. */
export const READ_CHUNKS = `
  SELECT digest, start, frame_bytes AS "frameBytes", raw_bytes AS "rawBytes", crc32::float8 AS crc32
  FROM waypost.chunks WHERE pack_id = $1 ORDER BY start`;

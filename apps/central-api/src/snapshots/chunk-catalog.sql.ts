/** Digests travel as one value, one after another: $1. How many: $2. */
const WANTED = `(SELECT at, substr($1::bytea, at * 32 + 1, 32) AS digest FROM generate_series(0, $2::integer - 1) AS at) AS wanted`;

/** Those chunks that are stored, for whoever wants to count on them: not those that are about to go. */
export const LOOK_UP = `
  SELECT at, pack_id AS "packId", frame_bytes AS "frameBytes" FROM ${WANTED} JOIN waypost.chunks USING (digest) WHERE NOT unneeded`;

/** Where chunks are, for whoever reads a content that names them. */
export const LOCATE = `
  SELECT at, pack_id AS "packId", start, frame_bytes AS "frameBytes", crc32::float8 AS crc32
  FROM ${WANTED} JOIN waypost.chunks USING (digest) ORDER BY at`;

/** $1: id, $2: bytes. */
export const ADD_PACK = 'INSERT INTO waypost.packs (pack_id, bytes) VALUES ($1, $2)';

/**
 * $1, $2: digests, $3: pack, $4…$7: start, frame_bytes, raw_bytes, crc32 of each. A chunk that somebody else has stored meanwhile stays where it
 * is; one that was about to go stays, here. In the order of their digests, so that two writers do not wait for each other in a circle.
 */
export const ADD_CHUNKS = `
  INSERT INTO waypost.chunks AS chunk (digest, pack_id, start, frame_bytes, raw_bytes, crc32)
  SELECT digest, $3, ($4::integer[])[at + 1], ($5::integer[])[at + 1], ($6::integer[])[at + 1], ($7::bigint[])[at + 1]
  FROM ${WANTED} ORDER BY digest
  ON CONFLICT (digest) DO UPDATE SET pack_id = excluded.pack_id, start = excluded.start, frame_bytes = excluded.frame_bytes,
    crc32 = excluded.crc32, unneeded = false WHERE chunk.unneeded`;

export const SUM_PACKS = 'SELECT coalesce(sum(bytes), 0)::float8 AS bytes FROM waypost.packs';

/** $1: pack. */
export const READ_PACK = 'SELECT bytes::float8 AS bytes FROM waypost.packs WHERE pack_id = $1';

/** $1: sha256, $2: format, $3: index, $4: rows, $5: bytes of all frames, $6: packs. What is the same already is not written again. */
export const ADD_CONTENT = `
  INSERT INTO waypost.table_contents AS content (sha256, format, chunk_index, row_count, frame_bytes, packs) VALUES ($1, $2, $3, $4, $5, $6)
  ON CONFLICT (sha256, format) DO UPDATE SET chunk_index = excluded.chunk_index, row_count = excluded.row_count,
    frame_bytes = excluded.frame_bytes, packs = excluded.packs, needed_at = now(), unneeded = false
  WHERE content.unneeded OR content.packs <> excluded.packs OR content.chunk_index <> excluded.chunk_index`;

/** $1: sha256, $2: format. */
export const READ_INDEX = 'SELECT chunk_index AS "index" FROM waypost.table_contents WHERE sha256 = $1 AND format = $2';

/** $1: sha256, $2: format. A pack that is not there any more has no bytes. */
export const FIND_CONTENT = `
  SELECT chunk_index AS "index", frame_bytes::float8 AS "frameBytes", packs,
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

import { HEADER_BYTES, INDEX_ENTRY_BYTES } from '@waypost/contracts';
import { NEEDED } from '../chunk-catalog.sql.js';

export const LIST_PACKS = `SELECT pack_id AS "packId", bytes::float8 AS bytes FROM waypost.packs WHERE retired_at IS NULL ORDER BY pack_id`;

/** $1: pack, $2: a digest, or null for the pack itself. Whether it is still said to be there: others may have moved or removed it meanwhile. */
export const IS_CATALOGED = `
  SELECT FROM waypost.packs p WHERE pack_id = $1 AND retired_at IS NULL
    AND ($2::bytea IS NULL OR EXISTS (SELECT FROM waypost.chunks c WHERE c.digest = $2 AND c.pack_id = p.pack_id))`;

/** What the store is made of. */
export const COUNT_STORED = `
  SELECT (SELECT count(*)::float8 FROM waypost.chunks) AS chunks,
         (SELECT count(*)::float8 FROM waypost.table_contents) AS contents,
         (SELECT coalesce(sum(frame_bytes), 0)::float8 FROM waypost.table_contents) AS "contentBytes",
         (SELECT coalesce(sum(frame_bytes), 0)::float8 FROM waypost.chunks WHERE digest IN (${NEEDED})) AS "neededBytes"`;

/** Contents of which chunks are not known. */
export const FIND_INCOMPLETE = `
  SELECT content.sha256, content.format, count(*)::float8 AS missing
  FROM (SELECT sha256, format, chunk_index || ''::bytea AS bytes FROM waypost.table_contents OFFSET 0) AS content
  CROSS JOIN LATERAL generate_series(0, (length(bytes) - ${HEADER_BYTES}) / ${INDEX_ENTRY_BYTES} - 1) AS at
  WHERE NOT EXISTS (SELECT FROM waypost.chunks c WHERE c.digest = substr(bytes, ${HEADER_BYTES + 1} + ${INDEX_ENTRY_BYTES} * at, 32))
  GROUP BY content.sha256, content.format ORDER BY content.sha256`;

import { NEEDED } from '../chunk-catalog.sql.js';

/**
 * Contents that devices may still download, or hold: found once for all contents, since many manifests name the same ones. Of a device's live manifests those count
 * that it was given since the one that it last proved to hold, and that one. What it holds is the base of its next delta, also when its manifest has expired.
 * @param baseMs parameter: how long a device's proof counts
 */
const named = (baseMs: string): string => `
  named AS MATERIALIZED (
    SELECT DISTINCT t.sha256, t.format FROM (
      SELECT m.manifest_id FROM waypost.manifests m LEFT JOIN waypost.device_states d ON d.mac = m.mac AND d.verified_epoch = m.epoch
      WHERE m.expires_at > now() AND (d.verified_sequence IS NULL OR m.sequence >= d.verified_sequence)
      UNION SELECT verified_manifest_id FROM waypost.device_states WHERE verified_at > now() - ${baseMs} * interval '1 ms'
    ) AS needed JOIN waypost.sync_manifests t USING (manifest_id)
  )`;

/** $1: ms that a device's proof counts. */
export const NOTE_NEEDED = `
  WITH ${named('$1')}
  UPDATE waypost.table_contents AS content SET needed_at = now() FROM named
  WHERE content.sha256 = named.sha256 AND content.format = named.format`;

/** Others may be given it as long as its tables do not change (capture/table-read-cache.ts). */
const IS_SHARED = 'EXISTS (SELECT FROM waypost.table_reads r WHERE r.sha256 = content.sha256 AND r.format = content.format)';

/**
 * $1: ms that a content stays when nothing names it any more, $2: how many stay so at most, $3: whether those that may be shared stay besides, $4: ms that a
 * device's proof counts.
 */
export const MARK_CONTENTS = `
  WITH ${named('$4')}, idle AS (
    SELECT sha256, format, needed_at, row_number() OVER (ORDER BY needed_at DESC) AS place FROM waypost.table_contents AS content
    WHERE NOT EXISTS (SELECT FROM named WHERE named.sha256 = content.sha256 AND named.format = content.format) AND NOT ($3 AND ${IS_SHARED})
  )
  UPDATE waypost.table_contents AS content SET unneeded = true FROM idle
  WHERE content.sha256 = idle.sha256 AND content.format = idle.format AND NOT content.unneeded
    AND (idle.needed_at <= now() - $1 * interval '1 ms' OR idle.place > $2)`;

export const ARE_CONTENTS_MARKED = 'SELECT EXISTS (SELECT FROM waypost.table_contents WHERE unneeded) AS marked';

/** What is needed by now. $1: as of NOTE_NEEDED. */
export const UNMARK_NAMED = `
  WITH ${named('$1')}
  UPDATE waypost.table_contents AS content SET needed_at = now(), unneeded = false FROM named
  WHERE content.unneeded AND content.sha256 = named.sha256 AND content.format = named.format`;

/** $1: whether those that may be shared stay. */
export const UNMARK_SHARED = `UPDATE waypost.table_contents AS content SET unneeded = false WHERE unneeded AND $1 AND ${IS_SHARED}`;

/** All who were building when they were marked must be done. */
export const FORGET_CONTENTS = 'DELETE FROM waypost.table_contents WHERE unneeded';

export const READ_PACKS = 'SELECT pack_id AS "packId" FROM waypost.packs';

export const READ_CLOCK = 'SELECT clock_timestamp()::text AS now';

/** $1: a time; what is younger may be part of what is being built. Marking it would be useless: what is built is needed before it is removed. */
export const MARK_UNNEEDED = `
  UPDATE waypost.chunks AS chunk SET unneeded = true FROM waypost.packs p
  WHERE p.pack_id = chunk.pack_id AND p.created_at < $1 AND NOT unneeded
    AND NOT EXISTS (SELECT FROM (${NEEDED}) AS needed WHERE needed.digest = chunk.digest)`;

export const ARE_MARKED = 'SELECT EXISTS (SELECT FROM waypost.chunks WHERE unneeded) AS marked';

/** What was marked is removed, unless a build had come to need it before it was marked. All builds that were in progress then must have ended. */
export const REMOVE_UNNEEDED = [
  `UPDATE waypost.chunks AS chunk SET unneeded = false FROM (${NEEDED}) AS needed WHERE chunk.unneeded AND chunk.digest = needed.digest`,
  `DELETE FROM waypost.chunks WHERE digest IN (SELECT digest FROM waypost.chunks WHERE unneeded ORDER BY digest FOR UPDATE)`,
] as const;

/**
 * Packs that have nothing left; nor do contents need them that had, until their chunks were written elsewhere. $1: as of MARK_UNNEEDED, $2: ms that a
 * retired pack stays.
 */
export const REMOVE_PACKS = `
  WITH removed AS (
    DELETE FROM waypost.packs p
    WHERE NOT EXISTS (SELECT FROM waypost.chunks WHERE pack_id = p.pack_id) AND created_at < $1
      AND (retired_at IS NULL OR retired_at <= now() - $2 * interval '1 ms')
    RETURNING pack_id
  ), cleaned AS (
    UPDATE waypost.table_contents SET packs = ARRAY(SELECT pack FROM unnest(packs) AS pack WHERE pack NOT IN (SELECT pack_id FROM removed) ORDER BY pack)
    WHERE packs && ARRAY(SELECT pack_id FROM removed)
  )
  SELECT pack_id AS "packId" FROM removed`;

/**
 * Packs to be rewritten: those of which less than two thirds are needed, and small ones where there are many. $1: bytes below which a pack is small, $2: how many
 * small ones may be.
 */
export const FIND_SPARSE = `
  WITH pack AS (
    SELECT p.pack_id, p.bytes, count(*) AS chunks, sum(c.frame_bytes) AS live, p.bytes < $1 AS is_small, count(*) FILTER (WHERE p.bytes < $1) OVER () AS small
    FROM waypost.packs p JOIN waypost.chunks c USING (pack_id) WHERE retired_at IS NULL GROUP BY p.pack_id
  )
  SELECT pack_id AS "packId" FROM pack WHERE live * 3 < bytes * 2 OR (is_small AND small > $2) ORDER BY pack_id`;

/** $1, $2: digests, $3: their new pack, $4: where each one is in it, $5: the packs that they come from. */
export const MOVE_CHUNKS = `
  UPDATE waypost.chunks AS chunk SET pack_id = $3, start = ($4::integer[])[at + 1]
  FROM (SELECT at, substr($1::bytea, at * 32 + 1, 32) AS digest FROM generate_series(0, $2::integer - 1) AS at) AS moved
  WHERE chunk.digest = moved.digest AND chunk.pack_id = ANY($5::text[])`;

/** $1: packs. Those that have nothing left. */
export const RETIRE_PACKS = `
  UPDATE waypost.packs p SET retired_at = now()
  WHERE pack_id = ANY($1) AND retired_at IS NULL AND NOT EXISTS (SELECT FROM waypost.chunks WHERE pack_id = p.pack_id)
  RETURNING pack_id AS "packId"`;

/** $1: new pack, $2: packs that chunks may have moved from, $3: those that have nothing left. */
export const MOVE_CONTENTS = `
  UPDATE waypost.table_contents
  SET packs = ARRAY(SELECT DISTINCT pack FROM unnest(packs || $1::text) AS pack WHERE pack <> ALL($3::text[]) ORDER BY pack)
  WHERE packs && $2::text[]`;

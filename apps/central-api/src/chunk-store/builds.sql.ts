/** The build's own lock first: one that holds the store's alone is taken for a build of an older release. $1, $2: the build's, $3, $4: the store's. */
export const ENTER_BUILD = 'SELECT pg_advisory_lock_shared($1, $2), pg_advisory_lock_shared($3, $4)';

export const LOCK_BUILD = 'SELECT pg_advisory_xact_lock($1, $2)';

export const TRY_LOCK_STORE = 'SELECT pg_try_advisory_xact_lock($1, $2) AS taken';

/** Builds in progress; null for each session that holds the store's lock without one of its own. $1: namespace of builds, $2, $3: the store's lock. */
export const FIND_BUILDS = `
  WITH held AS (
    SELECT pid, classid, objid FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND mode = 'ShareLock'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  ), build AS (
    SELECT pid, objid FROM held WHERE classid::bigint = $1
  )
  SELECT objid::text AS build FROM build
  UNION ALL
  SELECT NULL FROM held WHERE classid::bigint = $2 AND objid::bigint = $3 AND pid NOT IN (SELECT pid FROM build)`;

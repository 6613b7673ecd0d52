import { REPEATED_FAILURES } from './repeated-failures.js';

/** Bounds of the distribution of ages, in seconds: 5 min, 15 min, 1 h, 6 h, 1 d, 1 week, 30 d. */
export const AGE_BOUNDS_S = [300, 900, 3600, 21_600, 86_400, 604_800, 2_592_000] as const;
export const ACK_HOURS = [24, 72, 168] as const;
export const DEVICE_STATES = ['fresh', 'stale', 'silent', 'failing', 'never'] as const;

const counted = (condition: string, name: string): string => `count(*) FILTER (WHERE ${condition})::integer AS "${name}"`;

/**
 * A device is in one state, the first that fits: it never proved anything; it sent no request for long; its last failure is later than its
 * last proof; its last proof is old; else it is fresh. Over columns of waypost.device_status.
 * @param stale @param silent seconds, as SQL
 */
export const stateOf = (stale: string, silent: string): string => `
           CASE WHEN verified_at IS NULL THEN 'never'
                WHEN last_request_at < now() - ${silent} * interval '1 s' THEN 'silent'
                WHEN last_failure_at > verified_at THEN 'failing'
                WHEN verified_age > ${stale} * interval '1 s' THEN 'stale'
                ELSE 'fresh' END`;

/** Of a row of waypost.held_shrinks. */
export const IS_HELD_BACK = 'released_at IS NULL AND closed_at IS NULL';

/** The fleet as one row. $1: stale after, $2: silent after, both in seconds. */
export const FLEET = `
  WITH device AS (
    SELECT verified_age, consecutive_failures, ${stateOf('$1', '$2')} AS state
    FROM waypost.device_status
  )
  SELECT ${[
    ...DEVICE_STATES.map((state) => counted(`state = '${state}'`, state)),
    ...AGE_BOUNDS_S.map((bound) => counted(`verified_age <= interval '${bound} s'`, `le ${bound}`)),
    counted('verified_age IS NOT NULL', 'le +Inf'),
    ...ACK_HOURS.map((hours) => counted(`verified_age IS NULL OR verified_age > interval '${hours} h'`, `without ${hours}`)),
    counted(`consecutive_failures >= ${REPEATED_FAILURES}`, 'repeated'),
    'extract(epoch FROM max(verified_age))::float8 AS "oldest"',
    `(SELECT count(DISTINCT mac) FROM waypost.held_shrinks WHERE ${IS_HELD_BACK})::integer AS "held"`,
  ].join(',\n         ')}
  FROM device`;

/** Devices that have failed since their last proof, by the code of the last failure: what devices claim to have failed with, too. */
export const FLEET_ERRORS = `
  SELECT last_error_code AS code, count(*)::integer AS devices FROM waypost.device_status
  WHERE consecutive_failures > 0 AND last_error_code IS NOT NULL GROUP BY last_error_code`;

/** Whether a finding is open. A scalar. */
export const HAS_FINDING = 'EXISTS (SELECT FROM waypost.shadow_findings WHERE cleared_at IS NULL)';

/** What others have read since the lost change came under the same capture. */
export const DROP_READS = 'DELETE FROM waypost.table_reads';

export const READ_FINDINGS = `
  SELECT table_name AS "table", found_at AS "foundAt", found_by AS "foundBy", detail, manifest_id AS "manifestId", mac FROM waypost.shadow_findings
  WHERE cleared_at IS NULL ORDER BY table_name`;

/** $1: table. */
export const CLEAR_FINDING = `
  UPDATE waypost.shadow_findings SET cleared_at = now(), cleared_by = session_user WHERE table_name = $1 AND cleared_at IS NULL RETURNING table_name`;

/** What was issued while changes were lost may be of any earlier state: each device's next request reads the tables. */
export const FORGET_SEEN = 'UPDATE waypost.manifests SET seen = NULL, watch = NULL WHERE seen IS NOT NULL AND expires_at > now()';

/** Whether the tables of what central found are there, and the statement that lets this role read them where it may not. */
export const READ_RIGHT_TO_FINDINGS = `
  SELECT count(*) = 2 AS "areThere",
         CASE WHEN NOT bool_and(has_table_privilege(c.oid, 'SELECT'))
           THEN format('GRANT SELECT ON waypost.shadow_findings, waypost.canaries TO %I', current_user) END AS "missingRight"
  FROM pg_class c WHERE c.relnamespace = to_regnamespace('waypost') AND c.relname IN ('shadow_findings', 'canaries')`;

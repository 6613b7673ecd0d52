/** Until when no poll is audited any more that came before: a request is answered, and audited, long before. */
const CLOSED = "date_trunc('hour', now() - interval '10 minutes', 'UTC')";

/** Whether there is an hour whose polls are not in the ledger yet. */
export const FIRST_UNCOUNTED = `(SELECT polls_until < ${CLOSED} FROM waypost.ledger_head)`;

/** The next hour, locked. No row where none is closed, or another process is at it. */
export const NEXT_HOUR = `
  SELECT polls_until AS since, polls_until + interval '1 hour' AS until FROM waypost.ledger_head WHERE polls_until < ${CLOSED} FOR UPDATE SKIP LOCKED`;

/** Unchanged polls of enrolled devices. $1: since, $2: until. @returns devices in the order of their ids */
export const COUNT_POLLS = `
  SELECT p.*, m.sha256 AS "manifestSha256" FROM (
    SELECT d.id AS device, d.mac, count(*)::int AS polls, (array_agg(r.manifest_id ORDER BY r.requested_at DESC, r.id DESC))[1] AS "manifestId"
    FROM waypost.sync_requests r JOIN waypost.devices d ON d.mac = r.mac
    WHERE r.requested_at >= $1 AND r.requested_at < $2 AND r.operation = 'request' AND r.status = 'Issued' AND r.reason = 'unchanged'
    GROUP BY d.id
  ) AS p JOIN waypost.manifests m ON m.manifest_id = p."manifestId" ORDER BY p.device`;

/** $1: devices, $2: entries, $3: until. */
export const QUEUE_POLLS = `
  WITH queued AS (
    INSERT INTO waypost.ledger_queue (kind, device_id, body) SELECT 'polls', * FROM unnest($1::text[], $2::text[])
  )
  UPDATE waypost.ledger_head SET polls_until = $3`;

/** Checkpoints of more than a day ago, but for the last one of each hour. */
export const THIN_CHECKPOINTS = `
  DELETE FROM waypost.ledger_checkpoints WHERE made_at < now() - interval '1 day' AND size NOT IN (
    SELECT max(size) FROM waypost.ledger_checkpoints WHERE made_at < now() - interval '1 day' GROUP BY date_trunc('hour', made_at, 'UTC'))`;

import type pg from 'pg';

/** docs/sync-protocol.md, section 2, written down once more in PL/pgSQL. */
const KEY_HASH = `
  CREATE FUNCTION pg_temp.key_hash(key bytea) RETURNS bigint LANGUAGE plpgsql AS $$
  DECLARE h numeric := x'811C9DC5'::bigint; modulus constant numeric := 4294967296;
  BEGIN
    FOR i IN 0 .. length(key) - 1 LOOP
      h := ((h::bigint # get_byte(key, i))::numeric * x'01000193'::bigint) % modulus;
    END LOOP;
    h := h::bigint # (h::bigint >> 16);
    h := (h * x'85EBCA6B'::bigint) % modulus;
    h := h::bigint # (h::bigint >> 13);
    h := (h * x'C2B2AE35'::bigint) % modulus;
    RETURN h::bigint # (h::bigint >> 16);
  END $$`;

const HASH = `
  WITH share AS (
    SELECT int4send(4) || int4send(group_id) || int4send(8) || int8send(user_id) AS key,
           int4send(4) || date_send(joined_on) AS rest, group_id, user_id
    FROM group_members
    WHERE EXISTS (SELECT FROM location_groups lg JOIN devices d USING (location_id)
                  WHERE lg.group_id = group_members.group_id AND d.mac::text = $1)
  ), cut AS (
    SELECT *, (pg_temp.key_hash(key) & 255) = 0 AS ends_chunk FROM share
  ), numbered AS (
    SELECT *, count(*) FILTER (WHERE ends_chunk) OVER (ORDER BY group_id, user_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS chunk FROM cut
  ), chunks AS (
    SELECT chunk, count(*) AS rows, sha256(string_agg(int2send(3::int2) || key || rest, '' ORDER BY group_id, user_id)) AS digest
    FROM numbered GROUP BY chunk
  )
  SELECT sum(rows)::int AS rows, encode(sha256(string_agg(digest, '' ORDER BY chunk)), 'hex') AS sha256 FROM chunks`;

/** Count and hash of a device's group_members, by PostgreSQL's functions alone: nothing of Waypost's code takes part. */
export async function hashGroupMembers(pool: pg.Pool, mac: string): Promise<{ rows: number; sha256: string }> {
  const client = await pool.connect();
  try {
    await client.query(KEY_HASH);
    const { rows } = await client.query<{ rows: number; sha256: string }>(HASH, [mac]);
    return rows[0] as { rows: number; sha256: string };
  } finally {
    client.release(true);
  }
}

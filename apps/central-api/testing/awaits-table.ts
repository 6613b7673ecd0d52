import type { Central } from './central.js';

/** Their work at start and in between waits for tables as requests do, and says nothing about a request. */
const BACKGROUND = ['waypost-central-canary', 'waypost-central-shadow'];

/** Whether some session waits for a lock of a table, work in the background left out. */
export async function awaitsTable(sql: Central['sql']): Promise<boolean> {
  const text = `
    SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE NOT granted AND relation IS NOT NULL AND application_name <> ALL($1::text[])`;
  return (await sql(text, [BACKGROUND])).length > 0;
}

import { formatEntry, type PollsEntry } from '@waypost/contracts';
import { queryOn, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import { COUNT_POLLS, NEXT_HOUR, QUEUE_POLLS, THIN_CHECKPOINTS } from './polls.sql.js';

/**
 * Writes the unchanged polls of one hour down for the ledger: an entry for each device. An hour is counted once, whichever process dies when.
 * @returns false where no hour is left, or another process is at it
 */
export async function recordPolls(client: pg.ClientBase): Promise<boolean> {
  const query = queryOn(client);
  return withTransaction(client, 'READ WRITE', async () => {
    const [hour] = await query<{ since: Date; until: Date }>(NEXT_HOUR);
    if (!hour) return false;
    const rows = await query<Omit<PollsEntry, 'version' | 'kind' | 'hour'>>(COUNT_POLLS, [hour.since, hour.until]);
    const entries = rows.map((row) => formatEntry({ version: 1, kind: 'polls', hour: hour.since.toISOString(), ...row }));
    await query(QUEUE_POLLS, [rows.map(({ device }) => device), entries, hour.until]);
    await query(THIN_CHECKPOINTS);
    return true;
  });
}

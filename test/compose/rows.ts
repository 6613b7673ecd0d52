import { withClient } from '../../scripts/with-client.js';

/** What the example's Jetson should have, in SQL of its own: not the plan's, so that the plan is tested, too. */
const SHARE: Record<string, { columns: string; of: string }> = {
  companies: { columns: '*', of: 'companies WHERE id = 1' },
  locations: { columns: '*', of: 'locations WHERE id = 1' },
  groups: { columns: '*', of: 'groups WHERE id IN (SELECT group_id FROM location_groups WHERE location_id = 1)' },
  location_groups: { columns: '*', of: 'location_groups WHERE location_id = 1' },
  users: {
    columns: 'id, company_id, email, full_name, role, job_title, active, preferences, last_seen_at, created_at',
    of: `users WHERE id IN (SELECT user_id FROM group_members JOIN location_groups USING (group_id) WHERE location_id = 1)`,
  },
  group_members: { columns: '*', of: 'group_members WHERE group_id IN (SELECT group_id FROM location_groups WHERE location_id = 1)' },
  areas: { columns: '*', of: 'areas WHERE location_id = 1' },
  devices: { columns: '*', of: 'devices WHERE location_id = 1' },
};

export type Contents = Record<string, string[]>;

/** The Jetson's share of central's tables: each row as text, sorted. */
export const shareAt = (url: string): Promise<Contents> => contents(url, ({ of }) => of);

/** All rows of the mirror. */
export const mirrorAt = (url: string): Promise<Contents> => contents(url, (_, table) => table);

function contents(url: string, source: (share: { of: string }, table: string) => string): Promise<Contents> {
  return withClient(url, async (client) => {
    const found: Contents = {};
    for (const [table, share] of Object.entries(SHARE)) {
      const select = `SELECT ${share.columns} FROM ${source(share, table)}`;
      const { rows } = await client.query<{ row: string }>(`SELECT r::text AS row FROM (${select}) r ORDER BY r::text COLLATE "C"`);
      found[table] = rows.map(({ row }) => row);
    }
    return found;
  });
}

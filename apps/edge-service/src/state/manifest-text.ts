import type { Query } from '@waypost/runtime';
import { READ_MANIFEST } from './state.sql.js';

/** The manifest that the transaction of the last load wrote down, as JSON; undefined where there is none. */
export async function findManifestText(query: Query): Promise<string | undefined> {
  const [row] = await query<{ value: string }>(READ_MANIFEST);
  return row?.value;
}

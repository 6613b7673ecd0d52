import { hostname, userInfo } from 'node:os';
import type { CommandContext } from '@waypost/command-line';
import { WaypostError } from '@waypost/contracts';
import { type Query, queryOn, sqlStateOf, SqlState, withClient, withTransaction } from '@waypost/runtime';

/**
 * Runs `work` in a transaction that may write.
 * @param table that the role of this command may lack a right to
 * @throws WaypostError CONFIG_INVALID where it does
 */
export async function write<T>(context: CommandContext, table: string, work: (query: Query) => Promise<T>): Promise<T> {
  return context.database.run(async (pool) => {
    try {
      return await withClient(pool, (client) => withTransaction(client, 'READ WRITE', () => work(queryOn(client))));
    } catch (error) {
      if (sqlStateOf(error) !== SqlState.insufficientPrivilege) throw error;
      throw new WaypostError('CONFIG_INVALID', {
        detail: `${(error as Error).message}.`,
        hint: `Run it with the URL that central itself uses, or: GRANT UPDATE ON waypost.${table} TO the role of this command.`,
        cause: error,
      });
    }
  });
}

/** Who runs the command: for the record, not for trust. A container's user may have no name. */
export function operator(): string {
  try {
    return `${userInfo().username}@${hostname()}`;
  } catch {
    return hostname();
  }
}

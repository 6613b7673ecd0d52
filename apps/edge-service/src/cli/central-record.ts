import type { CommandContext } from '@waypost/command-line';
import { WaypostError } from '@waypost/contracts';
import { type CentralRecord, readCentralRecord, requestCentralRecord } from '../read-models/central-record.js';

/**
 * Asks central for its record, by its database or by HTTP, where either is known. A central that only the environment names, as on every
 * device, may be out of reach: devices are offline at times.
 * @returns undefined where no central is given
 * @throws WaypostError CENTRAL_UNREACHABLE, DATABASE_UNAVAILABLE when the command line named it
 */
export async function findCentralRecord(context: CommandContext, manifestId: string, mac: string): Promise<CentralRecord | undefined> {
  const databaseUrl = context.option('centralDatabaseUrl', 'CENTRAL_DATABASE_URL');
  const url = context.option('centralUrl', 'CENTRAL_URL');
  const asked = context.wasGiven('centralUrl') || databaseUrl === undefined ? url && byHttp(context, url, manifestId, mac) : undefined;
  const answer = asked ?? (databaseUrl === undefined ? undefined : byDatabase(context, databaseUrl, manifestId, mac));
  if (answer === undefined || answer === '') return undefined;
  return answer.catch((error: unknown): CentralRecord => {
    const isNamed = context.wasGiven('centralUrl') || context.wasGiven('centralDatabaseUrl');
    if (isNamed || !(error instanceof WaypostError)) throw error;
    return { found: false, source: 'central', reason: error.message };
  });
}

async function byHttp(context: CommandContext, url: string, manifestId: string, mac: string): Promise<CentralRecord> {
  return requestCentralRecord({ url, option: context.wasGiven('centralUrl') ? '--central-url' : 'CENTRAL_URL' }, manifestId, mac);
}

async function byDatabase(context: CommandContext, url: string, manifestId: string, mac: string): Promise<CentralRecord> {
  const source = context.wasGiven('centralDatabaseUrl') ? '--central-database-url' : 'CENTRAL_DATABASE_URL';
  await using database = context.openDatabase(url, source);
  return await readCentralRecord(database, manifestId, mac);
}

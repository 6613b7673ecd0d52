import type { CommandContext, Send } from '@waypost/command-line';
import { WaypostError } from '@waypost/contracts';
import { readConfig } from '@waypost/runtime';
import { Agent, fetch } from 'undici';
import { centralSchema } from '../central/central-variables.js';
import { connectorTo } from '../central/connect-to-central.js';
import { untrustedError } from '../central/untrusted-error.js';
import { type CentralRecord, readCentralRecord, requestCentralRecord } from '../read-models/central-record.js';

const CONNECT_TIMEOUT_MS = 5000;

/**
 * Asks central for its record, by its database or by HTTP, where either is known. A central that only the environment names, as on every
 * device, may be out of reach: devices are offline at times.
 * @returns undefined where no central is given
 * @throws WaypostError CENTRAL_UNREACHABLE, CENTRAL_UNTRUSTED, CONFIG_INVALID, DATABASE_UNAVAILABLE when the command line named it
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
  const option = context.wasGiven('centralUrl') ? '--central-url' : 'CENTRAL_URL';
  return requestCentralRecord({ url, option, send: sendTo(url, context.env) }, manifestId, mac);
}

/** Sends requests to central alone, which it knows as the service does: by CENTRAL_CA or CENTRAL_FINGERPRINT. @throws WaypostError CONFIG_INVALID */
function sendTo(url: string, env: NodeJS.ProcessEnv): Send {
  const { CENTRAL_CA: caFile, CENTRAL_FINGERPRINT: fingerprint } = readConfig(centralSchema, { ...env, CENTRAL_URL: url });
  const dispatcher = new Agent({ connect: connectorTo({ url, trust: { caFile, fingerprint }, timeoutMs: CONNECT_TIMEOUT_MS }) });
  return async (target, init) => {
    try {
      return await fetch(target, { ...init, dispatcher });
    } catch (error) {
      const { cause } = error as Error;
      throw cause instanceof WaypostError ? cause : (untrustedError(cause) ?? error);
    }
  };
}

async function byDatabase(context: CommandContext, url: string, manifestId: string, mac: string): Promise<CentralRecord> {
  const source = context.wasGiven('centralDatabaseUrl') ? '--central-database-url' : 'CENTRAL_DATABASE_URL';
  await using database = context.openDatabase(url, source);
  return await readCentralRecord(database, manifestId, mac);
}

import type { CommandContext, Send } from '@waypost/command-line';
import { WaypostError } from '@waypost/contracts';
import { readConfig } from '@waypost/runtime';
import { pino } from 'pino';
import { z } from 'zod';
import { CentralAccess } from '../central/access.js';
import { CentralHttp } from '../central/central-http.js';
import { DEFAULT_CIRCUIT_LIMITS } from '../central/central-options.js';
import { centralSchema } from '../central/central-variables.js';
import { IdentityFiles } from '../identity/identity-files.js';
import { identityDir } from '../identity/identity-options.js';
import { type CentralRecord, readCentralRecord, requestCentralRecord } from '../read-models/central-record.js';

const TIMEOUT_MS = 5000;

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
  return requestCentralRecord({ url, option, send: sendTo(url, mac, context.env) }, manifestId, mac);
}

/**
 * Sends requests to central alone, which it knows as the service does, by CENTRAL_CA or CENTRAL_FINGERPRINT, and as the device, if it has enrolled: by
 * the key in IDENTITY_DIR.
 * @throws WaypostError CONFIG_INVALID
 */
function sendTo(url: string, deviceMac: string, env: NodeJS.ProcessEnv): Send {
  const { CENTRAL_CA: caFile, CENTRAL_FINGERPRINT: fingerprint } = readConfig(centralSchema, { ...env, CENTRAL_URL: url });
  const { IDENTITY_DIR: folder } = readConfig(z.object({ IDENTITY_DIR: identityDir }), env);
  const options = {
    url: new URL(url).origin,
    trust: { caFile, fingerprint },
    deviceMac,
    requestTimeoutMs: TIMEOUT_MS,
    stallTimeoutMs: TIMEOUT_MS,
    circuit: DEFAULT_CIRCUIT_LIMITS,
  };
  const silent = pino({ level: 'silent' });
  const http = new CentralHttp(options, silent);
  const identity = { folder, enrollmentToken: undefined, deviceMac, mayReplaceKey: false };
  const access = new CentralAccess(http, new IdentityFiles(folder), identity, silent);
  return async ({ pathname, search }, { signal }) => {
    try {
      const authorization = await access.authorization(signal);
      const headers = authorization === undefined ? {} : { authorization };
      const { statusCode, body } = await http.send({ method: 'GET', path: pathname + search, headers }, signal);
      return { ok: statusCode === 200, status: statusCode, text: () => body.text() };
    } catch (error) {
      // askService names the address.
      throw error instanceof WaypostError && error.code === 'CENTRAL_UNREACHABLE' ? (error.cause ?? error) : error;
    }
  };
}

async function byDatabase(context: CommandContext, url: string, manifestId: string, mac: string): Promise<CentralRecord> {
  const source = context.wasGiven('centralDatabaseUrl') ? '--central-database-url' : 'CENTRAL_DATABASE_URL';
  await using database = context.openDatabase(url, source);
  return await readCentralRecord(database, manifestId, mac);
}

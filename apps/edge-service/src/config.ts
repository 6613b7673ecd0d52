import { normalizeMac, parseTableName, quoteTable } from '@waypost/contracts';
import { byteSize, databaseUrl, durationMs, httpUrl, integer, portNumber, readConfig, retentionMs, telemetryShape } from '@waypost/runtime';
import { z } from 'zod';

const mac = z.string().transform((text, context) => {
  try {
    return normalizeMac(text);
  } catch {
    context.addIssue({ code: 'custom', message: 'must be a MAC address such as 48:b0:2d:e9:c3:b7' });
    return z.NEVER;
  }
});

/** Commas within quotes belong to a name. */
const LISTED_NAME = /(?:"(?:[^"]|"")*"|[^,"])+/g;

/** By quoteTable. */
function tableNames(text: string, context: z.RefinementCtx): ReadonlySet<string> {
  const names = (text.match(LISTED_NAME) ?? []).map((name) => name.trim()).filter((name) => name !== '');
  try {
    return new Set(names.map((name) => quoteTable(parseTableName(name))));
  } catch (error) {
    context.addIssue({ code: 'custom', message: `must be tables such as users,sales.areas: ${(error as Error).message}` });
    return z.NEVER;
  }
}

/** Every variable that an edge knows. */
export const configSchema = z.object({
  PORT: portNumber.default(8081),
  /** POST /api/sync/now asks for no password: other machines reach it only where this is set so. */
  HOST: z.string().default('127.0.0.1'),
  DATABASE_URL: databaseUrl,
  CENTRAL_URL: httpUrl,
  DEVICE_MAC: mac,
  /** From the end of one cycle to the start of the next; 0 syncs on demand only. */
  SYNC_INTERVAL: durationMs
    .refine((ms) => ms === 0 || ms >= 1000, { message: 'must be 0 (only on demand) or at least 1s' })
    .default(5 * 60_000),
  /** Manifests of another schema version are refused. */
  SCHEMA_VERSION: integer(0, 2 ** 31 - 1).default(1),
  /** How changed tables get their rows: `auto` fills empty ones and merges into the others, so that readers never wait. */
  LOAD_STRATEGY: z.enum(['auto', 'truncate', 'merge'], { error: 'must be auto, truncate or merge' }).default('auto'),
  /** Tables of the device that hold rows and are handed over to Waypost all the same: names separated by commas, or `*` for all. */
  ADOPT_TABLES: z
    .string()
    .default('')
    .transform((text, context): '*' | ReadonlySet<string> => (text.trim() === '*' ? '*' : tableNames(text, context))),
  /** Tables of the device's own, as SQL names them, that triggers of mirrored tables may write to; separated by commas. */
  SIDE_EFFECT_TABLES: z.string().default('').transform(tableNames),
  /** Holds chunk streams until they are loaded; what is there survives restarts and is not downloaded again. */
  DOWNLOAD_DIR: z.string().default('./var/downloads'),
  /** With less space than this for downloads the service is not healthy. */
  MIN_FREE_DISK: byteSize.default(64 << 20),
  /** How long single cycles are kept; 0 for ever. Hourly counts stay. */
  AUDIT_RETENTION: retentionMs.prefault('30d'),
  ...telemetryShape,
  /** How long TRUNCATE may wait for readers, with new readers queueing behind it, before it steps back and tries again. */
  LOCK_TIMEOUT: durationMs.refine((ms) => ms >= 10, { message: 'must be at least 10ms' }).default(2000),
  /** A transfer that brings nothing for so long is broken off and resumed. */
  STALL_TIMEOUT: durationMs.refine((ms) => ms >= 100, { message: 'must be at least 100ms' }).default(30_000),
  /** For the downloads of one cycle together. What has come by then is kept, and the next cycle goes on from there. */
  DOWNLOAD_DEADLINE: durationMs.refine((ms) => ms >= 100, { message: 'must be at least 100ms' }).default(6 * 3_600_000),
  /** For central to answer; it may be building the manifest meanwhile. */
  REQUEST_TIMEOUT: durationMs.refine((ms) => ms >= 100, { message: 'must be at least 100ms' }).default(10 * 60_000),
});

export type EdgeConfig = z.infer<typeof configSchema>;

/** Injection token of the service's EdgeConfig. */
export const CONFIG = Symbol('config');

/** @throws WaypostError CONFIG_INVALID that names every faulty variable */
export function readEdgeConfig(env: NodeJS.ProcessEnv): EdgeConfig {
  return readConfig(configSchema, env);
}

import { resolve } from 'node:path';
import { databaseUrl, durationMs, integer, logLevel, portNumber, readConfig } from '@waypost/runtime';
import { z } from 'zod';

const snapshotStore = z.string().transform((text, context) => {
  if (text.startsWith('file:')) return { kind: 'file' as const, folder: resolve(text.slice('file:'.length).replace(/^\/\/(?=\/)/, '')) };
  context.addIssue({ code: 'custom', message: 'must be file:<folder>, such as file:./var/snapshots; other stores are not there yet' });
  return z.NEVER;
});

const schema = z.object({
  PORT: portNumber.prefault('8080'),
  HOST: z.string().default('0.0.0.0'),
  DATABASE_URL: databaseUrl,
  /** Path of the plan's YAML file. */
  SYNC_PLAN: z.string(),
  SNAPSHOT_STORE: snapshotStore.prefault('file:./var/snapshots'),
  LOG_LEVEL: logLevel.default('info'),
  /** How long a manifest can be downloaded; a device that is slower asks again and resumes. */
  MANIFEST_TTL: durationMs.prefault('24h'),
  /** Snapshot transactions at one time; further requests wait up to BUILD_QUEUE_TIMEOUT. */
  MAX_CONCURRENT_BUILDS: integer(1, 64).prefault('4'),
  BUILD_QUEUE_TIMEOUT: durationMs.prefault('30s'),
  /** How long a snapshot may wait for a table that somebody alters, before its connection goes to the next request. */
  LOCK_TIMEOUT: durationMs.prefault('30s'),
  /** A receiver that takes nothing for so long is disconnected. */
  STALL_TIMEOUT: durationMs.prefault('60s'),
});

export type Config = z.infer<typeof schema>;

/** @throws WaypostError CONFIG_INVALID that names every faulty variable */
export function readCentralConfig(env: NodeJS.ProcessEnv = process.env): Config {
  return readConfig(schema, env);
}

export const CONFIG = Symbol('central config');

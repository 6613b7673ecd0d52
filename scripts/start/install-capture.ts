import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { dataSourceOptions, openDataSource } from '../../apps/central-api/src/database/database.module.js';
import { projectRoot } from '../project-root.js';
import { StartError } from './settings.js';

/**
 * Runs `waypost capture install` as the tables' owner, in the schema `waypost` that central would make. What is installed already stays.
 * @throws StartError with what the command says
 */
export async function installCapture(databaseUrl: string, plan: string, signal: AbortSignal): Promise<void> {
  await (await openDataSource(dataSourceOptions(databaseUrl))).destroy();
  const args = [join(projectRoot, 'bin', 'waypost.mjs'), 'capture', 'install', '--plan', plan];
  const env = { ...process.env, DATABASE_URL: databaseUrl };
  await promisify(execFile)(process.execPath, args, { env, signal }).catch((error: { stdout?: string; stderr?: string }) => {
    signal.throwIfAborted();
    throw new StartError(`waypost capture install failed:\n${error.stdout ?? ''}${error.stderr ?? ''}`);
  });
}

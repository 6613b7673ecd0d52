import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

const BIN = join(import.meta.dirname, '..', '..', 'bin', 'waypost.mjs');
/** What the environment of a service would tell a command. */
const TELLING = [
  'DATABASE_URL',
  'CENTRAL_URL',
  'CENTRAL_CA',
  'CENTRAL_FINGERPRINT',
  'ALLOW_INSECURE',
  'CENTRAL_DATABASE_URL',
  'DEVICE_MAC',
  'SYNC_PLAN',
  'SNAPSHOT_STORE',
  'TLS_CERT',
  'PORT',
  'AUDIT_RETENTION',
  'WAYPOST_API_KEY',
  'DEVICE_STALE_AFTER',
  'DEVICE_SILENT_AFTER',
  'NO_COLOR',
  'FORCE_COLOR',
];

export interface Outcome {
  code: number | null;
  out: string;
  err: string;
}

/** Runs `waypost …` as a process, its output piped, with nothing of this process's settings but those given. */
export async function waypost(args: readonly string[], env: Record<string, string> = {}): Promise<Outcome> {
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !TELLING.includes(name)));
  const child = spawn(process.execPath, [BIN, ...args], { env: { ...inherited, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { code: child.exitCode, out, err };
}

/** As `waypost`, with --json: the one document that it prints. */
export async function waypostJson<T>(args: readonly string[], env: Record<string, string> = {}): Promise<{ code: number | null; json: T }> {
  const { code, out, err } = await waypost([...args, '--json'], env);
  if (err !== '') throw new Error(`waypost ${args.join(' ')} --json wrote to standard error: ${err}`);
  return { code, json: JSON.parse(out) as T };
}

import { execFile, execFileSync } from 'node:child_process';

export interface Outcome {
  status: number;
  stdout: string;
  stderr: string;
}

export const ROOT = process.cwd();
/** A build on a small machine takes minutes. */
const DEADLINE_MS = 15 * 60_000;
const MAX_OUTPUT_BYTES = 64 << 20;

/** Runs a command to its end, whatever that is. */
export function attempt(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(command, args, { cwd: ROOT, env, timeout: DEADLINE_MS, maxBuffer: MAX_OUTPUT_BYTES }, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : 1;
      resolve({ status, stdout, stderr: error === null || stderr !== '' ? stderr : error.message });
    });
  });
}

/** @throws Error with what the command said, when it fails */
export async function run(command: string, args: readonly string[], env?: NodeJS.ProcessEnv): Promise<string> {
  const { status, stdout, stderr } = await attempt(command, args, env);
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}:\n${stdout.slice(-4000)}\n${stderr.slice(-4000)}`);
  return stdout.trim();
}

export const docker = (...args: string[]): Promise<string> => run('docker', args);

/** The compose that this machine has: version 1 or 2. */
export function findCompose(): readonly [command: string, ...args: string[]] {
  const candidates = [['docker', 'compose'] as const, ['docker-compose'] as const];
  for (const [command, ...args] of candidates) {
    try {
      execFileSync(command, [...args, 'version'], { stdio: 'ignore' });
      return [command, ...args];
    } catch {
      // The next one, then.
    }
  }
  throw new Error('There is neither `docker compose` nor `docker-compose`.');
}

/** A value of the engine's, as it says it. @param format as of docker inspect */
export async function inspect<T>(id: string, format: string): Promise<T> {
  return JSON.parse(await docker('inspect', '--format', `{{json ${format}}}`, id)) as T;
}

/** Whether the engine has an image, or can get it. */
export async function canHave(image: string): Promise<boolean> {
  if ((await attempt('docker', ['image', 'inspect', image])).status === 0) return true;
  return (await attempt('docker', ['pull', '-q', image])).status === 0;
}

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, fetch } from 'undici';
import { freePort } from '../scripts/ports.js';
import { projectRoot } from '../scripts/project-root.js';

const START_MS = 60_000;
const STOP_MS = 15_000;
const POLL_MS = 50;
const TAIL_LINES = 20;

/** A line of a service's log. */
export type LogLine = Record<string, unknown>;

/** A service as `npm run start:central` or `start:edge` runs it: the same program, flags and environment. */
export class ServiceProcess implements AsyncDisposable {
  /** What it logged since `takeLog` was called last. */
  log: LogLine[] = [];
  private readonly tail: string[] = [];
  private readonly exited: Promise<unknown>;

  private constructor(
    readonly url: string,
    private readonly child: ChildProcess,
  ) {
    this.exited = once(child, 'close');
    for (const stream of [child.stdout, child.stderr]) {
      if (stream) createInterface(stream).on('line', (line) => this.keep(line));
    }
  }

  /**
   * Returns when the service calls itself healthy.
   * @param ca authority of the certificate that it serves, in PEM; without, it speaks plain HTTP
   */
  static async start(script: 'start:central' | 'start:edge', env: Record<string, string>, ca?: string): Promise<ServiceProcess> {
    const command = await readStartScript(script);
    const port = await freePort();
    const child = spawn(process.execPath, command.args, {
      cwd: projectRoot,
      env: { ...process.env, ...command.env, AUTH: 'mac', ...env, PORT: String(port), HOST: '127.0.0.1' },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true, // Ctrl-C is for the bench alone, which stops the services before their databases
    });
    const service = new ServiceProcess(`${ca === undefined ? 'http' : 'https'}://127.0.0.1:${port}`, child);
    try {
      await service.untilHealthy(ca);
      return service;
    } catch (error) {
      await service[Symbol.asyncDispose]();
      throw error;
    }
  }

  get pid(): number {
    return this.child.pid as number;
  }

  takeLog(): LogLine[] {
    const lines = this.log;
    this.log = [];
    return lines;
  }

  /** The last lines of the log, for error messages. */
  get logTail(): string {
    return this.tail.join('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.pid === undefined) return;
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), STOP_MS);
    await this.exited;
    clearTimeout(timer);
  }

  private keep(line: string): void {
    this.tail.push(line);
    if (this.tail.length > TAIL_LINES) this.tail.shift();
    if (line.startsWith('{')) this.log.push(JSON.parse(line) as LogLine);
  }

  private async untilHealthy(ca: string | undefined): Promise<void> {
    const agent = new Agent({ connect: ca === undefined ? {} : { ca } });
    const deadline = Date.now() + START_MS;
    while (Date.now() < deadline && this.child.exitCode === null && this.child.signalCode === null) {
      const response = await fetch(`${this.url}/health`, { dispatcher: agent }).catch(() => undefined);
      await response?.arrayBuffer();
      if (response?.ok) return agent.close();
      await sleep(POLL_MS);
    }
    throw new Error(`${this.child.spawnargs.join(' ')} does not become healthy. The end of its log:\n${this.logTail}`);
  }
}

/** What a script of package.json runs last: `… && NAME=value exec node <arguments>`. The bench is built already. */
async function readStartScript(name: string): Promise<{ env: Record<string, string>; args: string[] }> {
  const { scripts } = JSON.parse(await readFile(join(projectRoot, 'package.json'), 'utf8')) as { scripts: Record<string, string> };
  const words = scripts[name]?.split('&&').at(-1)?.trim().split(/\s+/) ?? [];
  const program = words.indexOf('node');
  if (program < 0) throw new Error(`The script ${name} of package.json does not run node.`);
  const env = Object.fromEntries(
    words
      .slice(0, program)
      .filter((word) => word.includes('='))
      .map((word) => word.split('=', 2)) as [string, string][],
  );
  return { env, args: words.slice(program + 1) };
}

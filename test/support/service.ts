import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';

const ROOT = join(import.meta.dirname, '..', '..');
/** A test process that is killed leaves no service behind: one would keep Jest's pipes open, and Jest waiting. */
const EXIT_WITH_PARENT = pathToFileURL(join(ROOT, 'dist', 'scripts', 'scripts', 'start', 'exit-with-parent.js')).href;

/** A service as users run it: the built code, in a process of its own. Disposing of it kills it. */
export class Service implements AsyncDisposable {
  /** Where it listens. */
  url = '';
  readonly log: string[] = [];
  /** What it wrote to standard error, which is this process's, too. */
  errors = '';
  /** Kept when the process is gone, whatever ended it, and its log is complete. */
  readonly gone: Promise<unknown>;

  /** Tells of each new line of the log. */
  private readonly lines: Interface;

  private constructor(private readonly child: Piped) {
    child.stderr.on('data', (part: Buffer) => {
      this.errors += part.toString();
      process.stderr.write(part);
    });
    this.gone = once(child, 'close');
    this.lines = createInterface(child.stdout).on('line', (line) => this.log.push(line));
  }

  /**
   * Starts a service and waits until it says that it listens.
   * @param env on top of this process's own; without PORT it listens on a free one, without AUTH central knows devices by their MACs
   * @param flags of node
   * @throws Error with its log when it ends before
   */
  static async start(name: 'central-api' | 'edge-service', env: Record<string, string>, flags: readonly string[] = []): Promise<Service> {
    const child = spawnService(name, env, flags);
    const service = new Service(child);
    await new Promise<void>((resolve, reject) => {
      service.lines.on('line', (line) => {
        if (!line.startsWith('{')) return; // Nest's own words, before the service has a logger
        const { msg, url } = JSON.parse(line) as { msg?: string; url?: string };
        if (url === undefined || !/ is (ready|listening)$/.test(msg ?? '')) return;
        service.url = String(url);
        resolve();
      });
      child.once('close', () => reject(new Error(`${name} ended:\n${service.log.join('\n')}`)));
    });
    return service;
  }

  /** Starts a service that must not become ready. @returns all that it printed on standard output, line by line */
  static async failToStart(name: 'central-api' | 'edge-service', env: Record<string, string>): Promise<string[]> {
    const service = new Service(spawnService(name, env));
    await service.gone;
    if (service.exitCode !== 1) throw new Error(`${name} ended with ${service.exitCode}:\n${service.log.join('\n')}`);
    return service.log;
  }

  get pid(): number {
    return this.child.pid as number;
  }

  /** Waits for the line by which a service says that it has reached an armed fault point. */
  async reached(faultPoint: string): Promise<void> {
    while (!this.hasReached(faultPoint)) await new Promise((resolve) => this.lines.once('line', resolve));
  }

  hasReached(faultPoint: string): boolean {
    return this.log.some((line) => line.includes('"fault point reached"') && line.includes(`"${faultPoint}"`));
  }

  get port(): string {
    return new URL(this.url).port;
  }

  /** Sends a signal and waits for the end. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.isRunning) this.child.kill(signal);
    await this.gone;
    return this.child.exitCode;
  }

  get exitCode(): number | null {
    return this.child.exitCode;
  }

  get isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('SIGKILL');
  }
}

type Piped = ChildProcess & { stdout: Readable; stderr: Readable };

function spawnService(name: string, env: Record<string, string>, flags: readonly string[] = []): Piped {
  const child = spawn(
    process.execPath,
    [...flags, '--import', EXIT_WITH_PARENT, join(ROOT, 'dist', name, 'apps', name, 'src', 'main.js')],
    {
      env: { ...process.env, HOST: '127.0.0.1', PORT: '0', LOG_LEVEL: 'info', AUTH: 'mac', ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    },
  );
  return child as Piped; // by stdio
}

/** POSTs JSON and reads the JSON answer. */
export async function post<T>(url: string, body?: unknown): Promise<{ status: number; body: T }> {
  const init = body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const response = await fetch(url, { method: 'POST', ...init });
  return { status: response.status, body: (await response.json()) as T };
}

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const ROOT = join(import.meta.dirname, '..', '..');

/** A service as users run it: the built code, in a process of its own. Disposing of it kills it. */
export class Service implements AsyncDisposable {
  /** Where it listens. */
  url = '';
  readonly log: string[] = [];

  private constructor(private readonly child: ChildProcess) {}

  /**
   * Starts a service and waits until it says that it is ready.
   * @param env on top of this process's own; without PORT it listens on a free one
   * @throws Error with its log when it ends before
   */
  static async start(name: 'central-api' | 'edge-service', env: Record<string, string>): Promise<Service> {
    const entry = join(ROOT, 'dist', name, 'apps', name, 'src', 'main.js');
    const child = spawn(process.execPath, [entry], {
      env: { ...process.env, HOST: '127.0.0.1', PORT: '0', LOG_LEVEL: 'info', ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const service = new Service(child);
    await new Promise<void>((resolve, reject) => {
      createInterface(child.stdout).on('line', (line) => {
        service.log.push(line);
        const { msg, url } = JSON.parse(line) as { msg?: string; url?: string };
        if (url === undefined || !msg?.endsWith('ready')) return;
        service.url = String(url);
        resolve();
      });
      child.once('close', () => reject(new Error(`${name} ended:\n${service.log.join('\n')}`)));
    });
    return service;
  }

  get pid(): number {
    return this.child.pid as number;
  }

  get port(): string {
    return new URL(this.url).port;
  }

  /** Sends a signal and waits for the end. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const closed = once(this.child, 'close');
      this.child.kill(signal);
      await closed;
    }
    return this.child.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('SIGKILL');
  }
}

/** POSTs JSON and reads the JSON answer. */
export async function post<T>(url: string, body?: unknown): Promise<{ status: number; body: T }> {
  const init = body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const response = await fetch(url, { method: 'POST', ...init });
  return { status: response.status, body: (await response.json()) as T };
}

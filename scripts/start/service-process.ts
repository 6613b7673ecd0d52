import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { projectRoot } from '../project-root.js';
import type { Part } from './running.js';
import { StartError } from './settings.js';
import { terminalText } from './terminal-text.js';

const STOP_MS = 15_000;
const TAIL_LINES = 15;
const LOUD_LEVELS = ['warn', 'error', 'fatal'];
/** As npm run start:central and start:edge: see the ADR on memory. */
export const MEMORY_FLAGS = [
  '--max-semi-space-size=4',
  '--max-old-space-size=256',
  '--initial-old-space-size=48',
  '--heap-growing-percent=80',
];
export const MALLOC = { MALLOC_ARENA_MAX: '2', MALLOC_MMAP_THRESHOLD_: '131072' };
const EXIT_WITH_PARENT = pathToFileURL(join(import.meta.dirname, 'exit-with-parent.js')).href;

interface ServiceOptions {
  name: 'central-api' | 'edge-service';
  port: number;
  env: Record<string, string>;
  logFolder: string;
}

/**
 * One of the two services as a child process. Its log (JSON lines) goes to a file; warnings and errors also to the terminal, readable.
 * It has a session of its own: Ctrl-C in the terminal does not reach it, so that services stop before databases.
 */
export class ServiceProcess implements Part {
  readonly name: string;
  readonly url: string;
  readonly logFile: string;
  /** Rejects, with the last lines of the log, when the service ends before `stop` was called. Never resolves. */
  readonly failed: Promise<never>;
  private readonly child: ChildProcess;
  private readonly exited: Promise<void>;
  private readonly tail: string[] = [];
  private stopping = false;

  constructor({ name, port, env, logFolder }: ServiceOptions) {
    this.name = name;
    this.url = `http://127.0.0.1:${port}`;
    this.logFile = join(logFolder, `${name}.log`);
    const entry = join(projectRoot, 'dist', name, 'apps', name, 'src', 'main.js');
    this.child = spawn(process.execPath, [...MEMORY_FLAGS, '--enable-source-maps', '--import', EXIT_WITH_PARENT, entry], {
      // On 127.0.0.1, because the example is for this machine only.
      env: { ...process.env, ...MALLOC, ...env, PORT: String(port), HOST: '127.0.0.1' },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: true,
    });
    this.exited = once(this.child, 'close').then(
      () => undefined,
      () => undefined,
    );
    this.collectLog();
    this.failed = this.exited.then(() => {
      if (this.stopping) return new Promise<never>(() => undefined);
      const reason = this.child.signalCode ?? `code ${this.child.exitCode}`;
      throw new StartError(`${name} ended by itself (${reason}). The end of ${this.logFile}:\n${this.tail.join('\n')}`);
    });
  }

  /** SIGTERM, and SIGKILL for a service that is still there after 15 s. Returns once it is gone. */
  async stop(): Promise<void> {
    this.stopping = true;
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), STOP_MS);
    await this.exited;
    clearTimeout(timer);
  }

  private collectLog(): void {
    const file = createWriteStream(this.logFile);
    for (const stream of [this.child.stdout, this.child.stderr]) {
      if (!stream) continue;
      createInterface(stream).on('line', (line) => {
        file.write(`${line}\n`);
        const text = terminalText(line);
        this.tail.push(text);
        if (this.tail.length > TAIL_LINES) this.tail.shift();
        if (isLoud(line)) process.stdout.write(`${text}\n`);
      });
    }
    void this.exited.then(() => file.end());
  }
}

function isLoud(line: string): boolean {
  try {
    return LOUD_LEVELS.includes((JSON.parse(line) as { level: string }).level);
  } catch {
    return false;
  }
}

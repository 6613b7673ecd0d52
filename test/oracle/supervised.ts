import { Service } from '../support/service.js';

interface Options {
  name: 'central-api' | 'edge-service';
  env: Record<string, string>;
  /** WAYPOST_FAULTS of the next process. */
  nextFaults: () => string;
}

/** A service that is started again at once whenever it dies, as a container would be: by SIGKILL, or at a fault point. It keeps its port. */
export class Supervised implements AsyncDisposable {
  /** How many processes there were. */
  lives = 0;
  private faults = '';
  private isUp = false;
  private current: Service | undefined;
  private port = '0';
  private isEnding = false;
  private running: Promise<void> = Promise.resolve();
  private failure: Error | undefined;

  private constructor(private readonly options: Options) {}

  static async start(options: Options): Promise<Supervised> {
    const supervised = new Supervised(options);
    await supervised.startNext();
    return supervised;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Running, and not armed to fail. */
  get isSound(): boolean {
    return this.isUp && this.faults === '';
  }

  get log(): readonly string[] {
    return this.current?.log ?? [];
  }

  /** Waits until the present process, or the one after it, answers. @throws Error when one did not start, or ended by itself */
  async ready(): Promise<void> {
    await this.running;
    if (this.failure) throw this.failure;
  }

  async kill(): Promise<void> {
    await this.ready();
    await this.current?.end('SIGKILL');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.isEnding = true;
    await this.running;
    await this.current?.end('SIGKILL');
  }

  private async startNext(): Promise<void> {
    const { name, env, nextFaults } = this.options;
    this.lives += 1;
    this.faults = nextFaults();
    const service = await Service.start(name, { ...env, PORT: this.port, WAYPOST_FAULTS: this.faults });
    this.current = service;
    this.port = service.port;
    this.isUp = true;
    void service.gone.then(() => {
      this.isUp = false;
      if (service.exitCode !== null) this.failure = new Error(`${name} ended by itself:\n${service.log.slice(-5).join('\n')}`);
      if (!this.isEnding) this.running = this.startNext().catch((error: Error) => void (this.failure = error));
    });
  }
}

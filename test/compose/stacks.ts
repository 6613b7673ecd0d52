import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '../../scripts/ports.js';
import { attempt, canHave, docker, findCompose, inspect, ROOT, run, type Outcome } from './commands.js';
import { COMPOSE_FILES, readSettings } from './compose-files.js';

const MONITORING = { prometheus: 'PROMETHEUS_IMAGE', grafana: 'GRAFANA_IMAGE', seq: 'SEQ_IMAGE' };
const POLL_MS = 300;
const HEALTHY_WITHIN_MS = 180_000;

/** Both compose files as one project with a name, ports, passwords and image tags of its own. */
export class Stacks {
  readonly project = `waypost-test-${randomBytes(4).toString('hex')}`;
  settings: Record<string, string> = {};
  /** Services whose images cannot be had here. */
  readonly left: string[] = [];
  private readonly compose = findCompose();
  private readonly env: NodeJS.ProcessEnv;

  private constructor(private readonly envFile: string) {
    this.settings = readSettings('.env.example');
    // A variable of the shell's would win over the file.
    this.env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !(name in this.settings) || name.endsWith('_IMAGE')));
  }

  /** @param envFile is written; as .env, with free ports and random passwords */
  static async prepare(envFile: string): Promise<Stacks> {
    const stacks = new Stacks(envFile);
    for (const name of Object.keys(stacks.settings)) {
      if (name.endsWith('_PASSWORD')) stacks.settings[name] = randomBytes(16).toString('hex');
      if (name.endsWith('_PORT')) stacks.settings[name] = String(await freePort());
      if (name.endsWith('_IMAGE')) stacks.settings[name] = process.env[name] || String(stacks.settings[name]);
    }
    Object.assign(stacks.settings, {
      COMPOSE_PROJECT_NAME: stacks.project,
      WAYPOST_VERSION: stacks.project,
      // Reaches whatever this machine reaches; an engine without routing builds on no other network.
      BUILD_NETWORK: process.env['BUILD_NETWORK'] || 'host',
      // Often enough to wait for; long enough for its connection to central to be closed between two cycles.
      SYNC_INTERVAL: '20s',
      // As docker/make-env.sh has it; certificates that are there stay.
      TLS_CERT: '/etc/waypost/tls/server.crt',
      TLS_KEY: '/etc/waypost/tls/server.key',
      CENTRAL_CA: '/etc/waypost/trust/ca.crt',
    });
    execFileSync('docker/make-certificates.sh', { cwd: ROOT, stdio: 'ignore' });
    stacks.writeSettings();
    for (const [service, image] of Object.entries(MONITORING)) {
      if (!(await canHave(String(stacks.settings[image])))) stacks.left.push(service);
    }
    return stacks;
  }

  private writeSettings(): void {
    const lines = Object.entries(this.settings).map(([name, value]) => `${name}=${value}\n`);
    writeFileSync(this.envFile, lines.join(''), { mode: 0o600 });
  }

  private composeArgs(args: readonly string[], envFile = this.envFile): [string, string[]] {
    const [command, ...first] = this.compose;
    return [command, [...first, '--env-file', envFile, '-p', this.project, ...COMPOSE_FILES.flatMap((file) => ['-f', file]), ...args]];
  }

  async run(...args: string[]): Promise<string> {
    return run(...this.composeArgs(args), this.env);
  }

  /** As `run`, with another file of settings, and whatever comes of it. */
  async attemptWith(envFile: string, ...args: string[]): Promise<Outcome> {
    return attempt(...this.composeArgs(args, envFile), this.env);
  }

  /** The services that `up` is asked for here. */
  get services(): string[] {
    const monitoring = Object.keys(MONITORING).filter((service) => !this.left.includes(service));
    return ['central-postgres', 'central-api', 'edge-postgres', 'edge-service', ...monitoring];
  }

  async container(service: string): Promise<string> {
    const ids = await this.run('ps', '-q', service);
    if (!/^[0-9a-f]+$/.test(ids)) throw new Error(`${service} has no container, or several: ${ids}`);
    return ids;
  }

  async untilHealthy(service: string): Promise<void> {
    const id = await this.container(service);
    await this.until(`${service} is healthy`, HEALTHY_WITHIN_MS, async () => {
      const { Running, Health } = await inspect<{ Running: boolean; Health?: { Status: string } }>(id, '.State');
      return Running && Health?.Status === 'healthy';
    });
  }

  /** @throws Error that says what did not come true, with the logs of all services */
  async until(what: string, withinMs: number, comesTrue: () => Promise<boolean>): Promise<void> {
    for (const deadline = performance.now() + withinMs; !(await comesTrue()); await delay(POLL_MS)) {
      if (performance.now() < deadline) continue;
      const logs = await this.run('logs', '--no-color', '--tail', '40').catch(String);
      throw new Error(`Not within ${withinMs / 1000} s: ${what}\n${logs}`);
    }
  }

  url(service: 'central-api' | 'edge-service'): string {
    return `http://127.0.0.1:${this.settings[service === 'central-api' ? 'CENTRAL_PORT' : 'EDGE_PORT']}`;
  }

  databaseUrl(side: 'central' | 'edge', role: string, password: string): string {
    return `postgres://${role}:${this.settings[password]}@127.0.0.1:${this.settings[`${side.toUpperCase()}_POSTGRES_PORT`]}/${side}`;
  }

  /** The network over which the edge reaches central, and nothing else. */
  get outerNetwork(): string {
    return `${this.project}_default`;
  }

  /** As an operator who edits .env. */
  set(name: string, value: string): void {
    this.settings[name] = value;
    this.writeSettings();
  }

  /** The name under which an image of ours is built here. */
  image(target: string): string {
    return `${this.settings['WAYPOST_IMAGE_PREFIX']}/${target}:${this.settings['WAYPOST_VERSION']}`;
  }

  /** Whatever the engine still has of this project. */
  async remains(): Promise<string> {
    const label = `label=com.docker.compose.project=${this.project}`;
    const kinds = [
      ['ps', '-aq'],
      ['volume', 'ls', '-q'],
      ['network', 'ls', '-q'],
    ] as const;
    const found = await Promise.all(kinds.map((command) => docker(...command, '--filter', label)));
    return found.join('\n').trim();
  }

  /** Containers, volumes, networks and images. Does not wait for promises: it runs at a signal, too. */
  downNow(): void {
    const [command, args] = this.composeArgs(['--profile', 'example', 'down', '-v', '-t', '5', '--remove-orphans']);
    const quietly = { cwd: ROOT, env: this.env, stdio: 'ignore' } as const;
    execFileSync(command, args, quietly);
    for (const image of ['central-api', 'edge-service', 'example-fleet']) {
      execFileSync('sh', ['-c', 'docker image rm "$0" || true', this.image(image)], quietly);
    }
  }
}

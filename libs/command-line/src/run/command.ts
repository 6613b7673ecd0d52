import { normalizeMac, WaypostError } from '@waypost/contracts';
import { checkApiKey, mustKeepSecret, readApiKey, readAuthorities } from '../read/credentials.js';
import { CommandDatabase } from '../read/database.js';
import type { ExitCode } from './exit-codes.js';
import type { CommandSpec, OptionValue } from '../grammar/grammar.js';
import type { Paint } from '../text/style.js';
import { type Cell, type Column, renderTable } from '../text/table.js';

/** A command's answer. */
export interface Answer {
  /** The read model: the JSON document of `--json`, whose form docs/cli.md promises. Holds all facts that `text` shows. */
  data: object;
  /** The same for people. */
  text: string;
  exitCode: ExitCode;
}

export type Command = (context: CommandContext) => Promise<Answer>;

type OptionValues = Readonly<Record<string, OptionValue>>;

interface ContextParts {
  spec: CommandSpec;
  args: readonly string[];
  options: OptionValues;
  env: NodeJS.ProcessEnv;
  paint: Paint;
  /** Columns of the terminal; undefined in a pipe. */
  width: number | undefined;
}

const DURATION = /^(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)$/;
const UNIT_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, min: 60_000, h: 3_600_000, d: 86_400_000 };
/** PostgreSQL's and setTimeout's limit. */
const MAX_MS = 2 ** 31 - 1;

/** A command's arguments, options, database and output style. */
export class CommandContext {
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly paint: Paint;
  private opened: CommandDatabase | undefined;

  constructor(private readonly parts: ContextParts) {
    this.args = parts.args;
    this.env = parts.env;
    this.paint = parts.paint;
  }

  /** The first argument. */
  get subject(): string {
    return this.args[0] as string;
  }

  /** By its long name in camel case; an environment variable in its place where one is named. */
  option(name: string, variable?: string): string | undefined {
    const given = this.parts.options[name];
    if (typeof given === 'string') return given;
    return (variable === undefined ? undefined : this.env[variable]) || undefined;
  }

  /** Of an option that takes several; none where it is not given. */
  values(name: string): readonly string[] {
    const given = this.parts.options[name];
    return Array.isArray(given) ? (given as readonly string[]) : [];
  }

  flag(name: string): boolean {
    return this.parts.options[name] === true;
  }

  /** Whether the command line sets it, not the environment. */
  wasGiven(name: string): boolean {
    return typeof this.parts.options[name] === 'string';
  }

  /** @throws WaypostError CONFIG_INVALID */
  duration(name: string, maxMs = MAX_MS): number | undefined {
    const text = this.option(name);
    return text === undefined ? undefined : parseDuration(text, flagOf(name), maxMs);
  }

  /** A duration that the service's environment sets, or its default. @throws WaypostError CONFIG_INVALID */
  setting(variable: string, fallback: string): number {
    return parseDuration(this.env[variable] || fallback, variable);
  }

  /** @throws WaypostError CONFIG_INVALID */
  limit(fallback: number): number {
    const text = this.option('limit') ?? String(fallback);
    if (/^[1-9]\d{0,6}$/.test(text)) return Number(text);
    throw new WaypostError('CONFIG_INVALID', {
      detail: `--limit ${JSON.stringify(text)} is not a count.`,
      hint: 'For instance --limit 50.',
    });
  }

  /** @throws WaypostError MAC_INVALID */
  mac(text: string): string {
    try {
      return normalizeMac(text);
    } catch (error) {
      throw new WaypostError('MAC_INVALID', {
        detail: (error as Error).message,
        hint: 'Write six hex pairs, for instance 48:b0:2d:e9:c3:b7.',
      });
    }
  }

  /** The command's database, opened at the first call; it is closed when the command has ended. */
  get database(): CommandDatabase {
    const url = this.option('databaseUrl', 'DATABASE_URL');
    if (url === undefined) {
      throw new WaypostError('CONFIG_INVALID', {
        detail: 'DATABASE_URL is not set.',
        hint: `Set it to the database of ${whose(this.parts.spec)}: DATABASE_URL=postgres://… waypost ${this.parts.spec.name}`,
      });
    }
    const source = this.wasGiven('databaseUrl') ? '--database-url' : 'DATABASE_URL';
    return (this.opened ??= this.openDatabase(url, source));
  }

  get hasDatabase(): boolean {
    return this.option('databaseUrl', 'DATABASE_URL') !== undefined;
  }

  /**
   * The API key for a service: WAYPOST_API_KEY, or that of --api-key-file. The command line of a process is no place for it: all users see it there.
   * @throws WaypostError CONFIG_INVALID, also where the key would go to another machine without TLS
   */
  async apiKey(url: string): Promise<string | undefined> {
    const file = this.option('apiKeyFile');
    const value = this.env['WAYPOST_API_KEY'];
    if (file === undefined && !value) return undefined;
    mustKeepSecret(url, this.env);
    if (file !== undefined) return readApiKey({ source: '--api-key-file', value: file });
    return checkApiKey({ source: 'WAYPOST_API_KEY', value: value as string });
  }

  /** The authorities of --ca or CENTRAL_CA, in PEM. @throws WaypostError CONFIG_INVALID */
  async authorities(): Promise<string | undefined> {
    const value = this.option('ca', 'CENTRAL_CA');
    return value === undefined ? undefined : readAuthorities({ source: this.wasGiven('ca') ? '--ca' : 'CENTRAL_CA', value });
  }

  /** One more database; dispose of it. */
  openDatabase(url: string, source: string): CommandDatabase {
    const statementTimeoutMs = this.duration('timeout') ?? parseDuration(this.parts.spec.timeout, '--timeout');
    return new CommandDatabase({ url, source, statementTimeoutMs });
  }

  async close(): Promise<void> {
    await this.opened?.[Symbol.asyncDispose]();
  }

  table(columns: readonly Column[], rows: readonly (readonly Cell[])[]): string {
    return renderTable(columns, rows, { paint: this.paint, width: this.parts.width });
  }
}

function parseDuration(text: string, option: string, maxMs = MAX_MS): number {
  const [, value, unit] = DURATION.exec(text.trim()) ?? [];
  const ms = Number(value) * (UNIT_MS[unit as string] ?? NaN);
  if (ms >= 1 && ms <= maxMs) return Math.round(ms);
  throw new WaypostError('CONFIG_INVALID', {
    detail: `${option} ${JSON.stringify(text)} is not a duration.`,
    hint: 'For instance 30s, 15m, 12h or 7d.',
  });
}

/** `--older-than` of `olderThan`. */
function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function whose({ side }: CommandSpec): string {
  if (side === 'either') return 'central or of a device';
  return side === 'central' ? 'central' : 'the device';
}

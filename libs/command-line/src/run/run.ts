import { WaypostError } from '@waypost/contracts';
import { CommanderError } from 'commander';
import { type Command, CommandContext } from './command.js';
import { completionScript } from '../grammar/completion.js';
import { ExitCode, exitCodeOf } from './exit-codes.js';
import { COMMANDS } from '../grammar/grammar.js';
import { type Asked, readCommandLine } from '../grammar/program.js';
import { sendBy } from '../read/send.js';
import { askService, type ServiceAnswer } from '../read/service.js';
import type { Side } from '../read/side.js';
import { paintFor, plain, printable } from '../text/style.js';

/** The commands of one side, by name; each is loaded when it is used. */
export type SideCommands = Readonly<Record<string, () => Promise<Command>>>;

/**
 * What a side's cli/commands.ts exports. Each service's build has its own copy of this library; the copy that a side's commands use runs
 * them, so that `instanceof WaypostError` works.
 */
export interface SideModule {
  commands: SideCommands;
  runCommand: typeof runCommand;
}

export interface Installation {
  version: string;
  /** The sides that are installed: an image holds one. */
  sides: Readonly<Partial<Record<Side, () => Promise<SideModule>>>>;
}

type AskedCommand = Extract<Asked, { kind: 'command' }>;

const SERVICES: Record<Side, string> = { central: 'central-api', edge: 'edge-service' };

/**
 * Runs `waypost <argv>`: prints the answer on standard output, errors on standard error; with --json always one document on standard output.
 * @returns the exit status
 */
export async function runCommandLine(argv: readonly string[], { version, sides }: Installation): Promise<number> {
  const json = argv.includes('--json');
  if (argv.includes('--no-color')) setNoColor();
  const complaints: string[] = [];
  let asked: Asked;
  try {
    asked = readCommandLine(argv, version, {
      paint: json ? plain : paintFor(process.stdout),
      width: process.stdout.columns,
      out: (text) => process.stdout.write(text),
      err: (text) => complaints.push(text),
    });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return ExitCode.ok;
    return complain(json, complaints.join('').trimEnd(), commandOf(argv));
  }
  if (asked.kind === 'completion') {
    process.stdout.write(completionScript(asked.shell));
    return ExitCode.ok;
  }
  const { spec } = asked;
  const side = await withContext(asked, json, async (context) => ({ found: await chooseSide(spec.side, context) }));
  if (typeof side === 'number') return side;
  const module = await sides[side.found]?.();
  if (!module) return withContext(asked, json, async () => Promise.reject(notInstalled(spec.name, side.found)));
  return module.runCommand(asked, module.commands);
}

/** Runs one command of this side. @returns the exit status */
export async function runCommand(asked: AskedCommand, commands: SideCommands): Promise<number> {
  const json = asked.options['json'] === true;
  return withContext(asked, json, async (context) => {
    const load = commands[asked.spec.name];
    if (!load) throw new Error(`there is no command ${asked.spec.name}`);
    const command = await load();
    const { data, text, exitCode } = await command(context);
    print(json ? `${JSON.stringify(data, null, 2)}\n` : `${text}\n`);
    return exitCode;
  });
}

/** Reports errors. @returns the result of `work`, or the exit status of its error */
async function withContext<T>(asked: AskedCommand, json: boolean, work: (context: CommandContext) => Promise<T>): Promise<T | number> {
  const context = new CommandContext({
    ...asked,
    env: process.env,
    paint: json ? plain : paintFor(process.stdout),
    width: process.stdout.isTTY ? process.stdout.columns : undefined,
  });
  try {
    return await work(context);
  } catch (error) {
    reportError(error, json, secretsOf(context));
    return exitCodeOf(error);
  } finally {
    await context.close();
  }
}

/** In Node, FORCE_COLOR overrides NO_COLOR. */
function setNoColor(): void {
  delete process.env['FORCE_COLOR'];
  process.env['NO_COLOR'] = '1';
}

/** A reader that closes the pipe early, such as `head`, is no failure. */
function print(text: string): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
  process.stdout.write(text);
}

/** For `status`: a database's tables tell its side; for a URL alone the service is asked. */
async function chooseSide(side: Side | 'either', context: CommandContext): Promise<Side> {
  if (side !== 'either') return side;
  const url = context.option('url');
  if (url !== undefined && !context.hasDatabase) return (await askAsEdge(url, context)).ok ? 'edge' : 'central';
  const found = await context.database.side();
  if (found && url !== undefined) await mustBelongTo(found, url, context);
  if (found) return found;
  throw new WaypostError('CONFIG_INVALID', {
    detail: `${context.database.address} has no tables of Waypost: no service has run on it yet.`,
    hint: 'Start central-api or edge-service on it once; each makes its own tables.',
  });
}

/** Only an edge has this route. */
const EDGE_ROUTE = '/api/sync/status';

/** Shows no key: an edge has none, and central answers without one that it has no such route. */
async function askAsEdge(url: string, context: CommandContext): Promise<ServiceAnswer> {
  return askService(url, EDGE_ROUTE, '--url', sendBy({ ca: await context.authorities() }));
}

/**
 * One side's service beside the other side's database would look healthy. The command itself handles a service that does not answer, or not
 * as expected.
 * @throws WaypostError CONFIG_INVALID
 */
async function mustBelongTo(side: Side, url: string, context: CommandContext): Promise<void> {
  const answer = await askAsEdge(url, context).catch((error: unknown) => {
    if (error instanceof WaypostError && error.code === 'CENTRAL_UNREACHABLE') return undefined;
    throw error;
  });
  const actual = answer?.ok ? 'edge' : answer?.status === 404 ? 'central' : undefined;
  if (actual === undefined || actual === side) return;
  throw new WaypostError('CONFIG_INVALID', {
    detail: `${context.database.address} is the database of ${SERVICES[side]}, but ${url} is ${SERVICES[actual]}.`,
    hint: `Give --url and the database of the same side, or one of the two alone.`,
  });
}

function notInstalled(name: string, side: Side): WaypostError {
  return new WaypostError('CONFIG_INVALID', {
    detail: `\`waypost ${name}\` belongs to ${SERVICES[side]}, which is not installed here.`,
    hint: `Run it where ${SERVICES[side]} is, for instance in its container.`,
  });
}

function commandOf(argv: readonly string[]): string {
  const words = argv.filter((word) => !word.startsWith('-'));
  const known = [words.slice(0, 2).join(' '), words[0]].find((name) => COMMANDS.some((spec) => spec.name === name));
  return known === undefined ? 'waypost --help' : `waypost help ${known}`;
}

function complain(json: boolean, message: string, help: string): number {
  const detail = printable(message.replace(/^error: /, '').replaceAll('\n', ' '));
  const hint = `See: ${help}`;
  if (json) print(`${JSON.stringify({ error: { code: 'USAGE_INVALID', detail, hint } }, null, 2)}\n`);
  else process.stderr.write(message.startsWith('error') ? `USAGE_INVALID  ${detail}\n${hint}\n` : `${message}\n`);
  return ExitCode.usage;
}

function reportError(error: unknown, json: boolean, secrets: readonly string[]): void {
  const known =
    error instanceof WaypostError
      ? { code: error.code, detail: error.message, hint: error.hint }
      : {
          code: 'INTERNAL',
          detail: (error as Error).message,
          hint: 'This is a defect, or a database of another version of Waypost: report it with the command and both versions.',
        };
  const redact = (text: string): string => secrets.reduce((clean, secret) => clean.replaceAll(secret, '***'), text);
  // Hints hold no secret, and a password such as `waypost` would garble them.
  const { code, detail, hint } = { ...known, detail: redact(known.detail) };
  if (json) return print(`${JSON.stringify({ error: { code, detail, hint } }, null, 2)}\n`);
  const paint = paintFor(process.stderr);
  const lines = detail.split('\n').map(printable).join('\n');
  process.stderr.write(`${paint('bad', code)}  ${lines}\n${hint}\n`);
}

/** Passwords in the URLs that were given, as written and decoded: no error of a library may repeat them. */
function secretsOf(context: CommandContext): string[] {
  const urls = [
    context.option('databaseUrl', 'DATABASE_URL'),
    context.option('centralDatabaseUrl', 'CENTRAL_DATABASE_URL'),
    context.option('centralUrl', 'CENTRAL_URL'),
    context.option('url'),
  ];
  return urls.flatMap((url) => {
    const written = URL.parse(url ?? '')?.password;
    return written ? [written, safelyDecoded(written)] : [];
  });
}

function safelyDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

import { Command as Program, Option } from 'commander';
import { COMMANDS, type CommandSpec, type OptionSpec, optionsOf, type OptionValue, type Shell, SHELLS } from './grammar.js';
import type { Paint } from '../text/style.js';

/** What the command line asks for. */
export type Asked =
  | { kind: 'command'; spec: CommandSpec; args: readonly string[]; options: Record<string, OptionValue> }
  | { kind: 'completion'; shell: Shell };

interface Output {
  paint: Paint;
  width: number | undefined;
  out: (text: string) => void;
  err: (text: string) => void;
}

const EXIT_CODES = `
Exit status: 0 nothing wrong, 1 a finding (drift, unhealthy, no such device), 2 wrong usage, 3 no answer.
These change a database: \`adopt TABLE…\`, \`release TABLE\`, \`capture install\`, \`capture remove\`, \`capture trust\`,
\`device add\`, \`device approve\`, \`device rotate\`, \`device revoke\`, \`key add\`, \`key revoke\`,
\`keys rotate\`, \`keys export-root\` and \`store check --repair\`. \`certs …\` and \`ledger export\` write files.
All others read, in read-only sessions with time limits. docs/cli.md shows what each prints.`;

const FIRST_STEPS = `
Examples:
  $ DATABASE_URL=postgres://… waypost status
  $ waypost devices --state silent
  $ waypost help verify
`;

/**
 * Reads a command line.
 * @throws CommanderError when it is wrong, or when it asked for help, which is written by then
 */
export function readCommandLine(argv: readonly string[], version: string, output: Output): Asked {
  let asked: Asked | undefined;
  const program = new Program('waypost')
    .description('Looks after a fleet of Waypost devices: what do they hold, since when, and what is wrong.')
    .version(version)
    .usage('<command> [options]')
    .helpCommand('help [command]', 'help for a command')
    .showHelpAfterError(false)
    .showSuggestionAfterError(true)
    .exitOverride()
    .configureOutput({
      writeOut: output.out,
      writeErr: output.err,
      getOutHelpWidth: () => output.width ?? 120,
      getErrHelpWidth: () => output.width ?? 120,
      outputError: (text, write) => write(text),
    })
    .configureHelp({
      styleTitle: (text) => output.paint('strong', text),
      styleCommandText: (text) => output.paint('strong', text),
      styleOptionText: (text) => text,
    })
    .addHelpText('after', FIRST_STEPS + EXIT_CODES);
  for (const spec of COMMANDS) {
    const command = describe(parentOf(program, spec), spec);
    command.action(() => {
      asked = { kind: 'command', spec, args: command.args, options: command.opts() };
    });
  }
  program
    .command('completion')
    .summary('a script for your shell, so that TAB completes commands and options')
    .description('Prints a completion script: bash: source <(waypost completion bash); zsh and fish likewise (docs/cli.md).')
    .argument('<shell>', SHELLS.join(', '))
    .allowExcessArguments(false)
    .action((shell: string, _options, command: Program) => {
      if (!SHELLS.includes(shell as Shell))
        command.error(`error: there is no completion for ${JSON.stringify(shell)}, only for ${SHELLS.join(', ')}`);
      asked = { kind: 'completion', shell: shell as Shell };
    });
  program.parse(argv, { from: 'user' });
  if (!asked) program.help({ error: true });
  return asked as Asked;
}

/** What the commands of two words have in common. */
const GROUPS: Readonly<Record<string, string>> = {
  plan: 'check the sync plan, or explain it for a device',
  device: 'enroll devices, see and approve them, replace and revoke their keys',
  store: 'check central’s chunk store, and forget what is lost or damaged (--repair)',
  key: 'keys of programs that ask central: add, list, show, revoke',
  keys: 'the keys that sign manifests: show, rotate, export-root',
  certs: 'a private certificate authority, and central’s certificate: init, server, renew',
  ledger: 'what devices acknowledged: verify it, export it, check an export',
  capture: 'triggers that tell central of changes: show, install, remove, trust',
};

/** `plan check` is a command below `plan`. */
function parentOf(program: Program, { name }: CommandSpec): Program {
  const [group, word] = name.split(' ');
  if (word === undefined) return program;
  return (
    program.commands.find((command) => command.name() === group) ?? program.command(group as string).summary(GROUPS[group as string] ?? '')
  );
}

function describe(parent: Program, spec: CommandSpec): Program {
  const command = parent
    .command(spec.name.split(' ').at(-1) as string)
    .summary(spec.summary)
    .description(spec.description ?? `${capitalized(spec.summary)}.`)
    .allowExcessArguments(false)
    .addHelpText('after', `\nExamples:\n${spec.examples.map((example) => `  $ ${example}`).join('\n')}\n${EXIT_CODES}`);
  for (const argument of spec.arguments) command.argument(argument.name, argument.description);
  for (const option of optionsOf(spec)) command.addOption(toOption(option));
  return command;
}

function toOption({ flags, description, choices, list }: OptionSpec): Option {
  const option = new Option(flags, choices && list ? `${description} (${choices.join(', ')}; several with commas)` : description);
  return choices && !list ? option.choices(choices) : option;
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

import { COMMANDS, type CommandSpec, longFlag, type OptionSpec, optionsOf, type Shell, SHELLS, takesValue } from './grammar.js';

/**
 * A completion script. It holds all words itself: TAB starts no process, and nothing that stands on the command line is ever evaluated.
 */
export function completionScript(shell: Shell): string {
  return { bash, zsh, fish }[shell]();
}

interface Node {
  /** `plan check`; empty for the top. */
  name: string;
  words: readonly { word: string; summary: string }[];
  options: readonly OptionSpec[];
}

const HELP: OptionSpec = { flags: '--help', description: 'help for the command' };

/** Every place where something can be completed, the top first. */
function nodes(): Node[] {
  const groups = [...new Set(COMMANDS.flatMap(({ name }) => (name.includes(' ') ? [name.split(' ')[0] as string] : [])))];
  const top = COMMANDS.filter(({ name }) => !name.includes(' ')).map(wordOf);
  const groupWords = groups.map((group) => ({ word: group, summary: 'check the sync plan, or explain it for a device' }));
  const all = [...top, ...groupWords, { word: 'completion', summary: 'a script for your shell' }];
  return [
    {
      name: '',
      words: [...all, { word: 'help', summary: 'help for a command' }],
      options: [HELP, { flags: '--version', description: 'the version' }],
    },
    { name: 'help', words: all, options: [] },
    { name: 'completion', words: SHELLS.map((word) => ({ word, summary: `for ${word}` })), options: [HELP] },
    ...groups.map((group) => ({
      name: group,
      words: COMMANDS.filter(({ name }) => name.startsWith(`${group} `)).map(wordOf),
      options: [HELP],
    })),
    ...COMMANDS.map((spec) => ({ name: spec.name, words: [], options: [...optionsOf(spec), HELP] })),
  ];
}

function wordOf({ name, summary }: CommandSpec): { word: string; summary: string } {
  return { word: name.split(' ').at(-1) as string, summary };
}

/** What follows `command:--option`; options of the same name may mean other things in other commands. */
function valueCases(render: (option: OptionSpec) => string): string {
  return nodes()
    .flatMap(({ name, options }) => options.filter(takesValue).map((option) => `    '${name} ${longFlag(option)}') ${render(option)} ;;`))
    .join('\n');
}

function wordCases(): string {
  return nodes()
    .map(
      ({ name, words, options }) => `    '${name}') words='${[...words.map(({ word }) => word), ...options.map(longFlag)].join(' ')}' ;;`,
    )
    .join('\n');
}

/** Commands of two words, as shell patterns know them. */
function pathCases(): string {
  return nodes()
    .filter(({ name }) => name.includes(' ') || nodes().some((other) => other.name === name))
    .filter(({ name }) => name !== '')
    .map(({ name }) => `'${name}'`)
    .join('|');
}

function bash(): string {
  return `# bash completion for waypost: source <(waypost completion bash)
_waypost() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} path='' word words='' at
  for ((at = 1; at < COMP_CWORD; at++)); do
    word=\${COMP_WORDS[at]}
    case "\${path:+$path }$word" in
      ${pathCases()}) path="\${path:+$path }$word" ;;
    esac
  done
  COMPREPLY=()
  case "$path $prev" in
${valueCases(({ choices, file, list }) => {
  if (file) return 'COMPREPLY=($(compgen -f -- "$cur")); return';
  if (choices && list) {
    return `local head=''; [[ $cur == *,* ]] && head=\${cur%,*},; COMPREPLY=($(compgen -P "$head" -W '${choices.join(' ')}' -- "\${cur##*,}")); return`;
  }
  return choices ? `COMPREPLY=($(compgen -W '${choices.join(' ')}' -- "$cur")); return` : 'return';
})}
  esac
  case "$path" in
${wordCases()}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _waypost waypost
`;
}

function zsh(): string {
  const described = (entries: readonly { word: string; summary: string }[]): string =>
    entries.map(({ word, summary }) => `'${quoted(word.replaceAll(':', '\\:'))}:${quoted(summary)}'`).join(' ');
  const cases = nodes()
    .map(({ name, words, options }) => {
      const flags = options.map((option) => ({ word: longFlag(option), summary: option.description }));
      return `    '${name}') described=(${described([...words, ...flags])}) ;;`;
    })
    .join('\n');
  return `#compdef waypost
# zsh completion for waypost: source <(waypost completion zsh)
_waypost() {
  local cur=\${words[CURRENT]} prev=\${words[CURRENT-1]} typed='' word at
  local -a described
  for ((at = 2; at < CURRENT; at++)); do
    word=\${words[at]}
    case "\${typed:+$typed }$word" in
      ${pathCases()}) typed="\${typed:+$typed }$word" ;;
    esac
  done
  case "$typed $prev" in
${valueCases(({ choices, file, list }) => {
  if (file) return '_files; return';
  if (!choices) return 'return';
  return list ? `_values -s , state ${choices.join(' ')}; return` : `compadd -- ${choices.join(' ')}; return`;
})}
  esac
  case "$typed" in
${cases}
  esac
  _describe waypost described
}
compdef _waypost waypost
# As a file in fpath this is the body of _waypost at its first call.
[[ \${funcstack[1]} != _waypost ]] || _waypost "$@"
`;
}

function fish(): string {
  const lines = nodes().flatMap(({ name, words, options }) => {
    const condition = `-n '__waypost_at ${quoted(name === '' ? '""' : `"${name}"`)}'`;
    return [
      ...words.map(({ word, summary }) => `complete -c waypost -f ${condition} -a '${word}' -d '${quoted(summary)}'`),
      ...options.map((option) => {
        const { choices, file } = option;
        const value = takesValue(option) ? (file ? ' -r -F' : ` -x${choices ? ` -a '${choices.join(' ')}'` : ''}`) : '';
        return `complete -c waypost${file ? '' : ' -f'} ${condition} -l ${longFlag(option).slice(2)}${value} -d '${quoted(option.description)}'`;
      }),
    ];
  });
  return `# fish completion for waypost: waypost completion fish | source
function __waypost_at
    set -l path ''
    for word in (commandline -opc)[2..-1]
        set -l next (string trim -- "$path $word")
        contains -- "$next" ${pathCases().replaceAll('|', ' ')}; and set path $next
    end
    test "$path" = "$argv[1]"
end
complete -c waypost -f
${lines.join('\n')}
`;
}

/** Inside single quotes of each of the three shells. */
function quoted(text: string): string {
  return text.replaceAll("'", '’');
}

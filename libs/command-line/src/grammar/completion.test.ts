import { completionScript } from './completion.js';
import { COMMANDS, longFlag, optionsOf, SHELLS } from './grammar.js';

test.each(SHELLS)('the script for %s knows every command and every option', (shell) => {
  const script = completionScript(shell);
  const words = COMMANDS.flatMap((spec) => [spec.name.split(' ').at(-1) as string, ...optionsOf(spec).map(longFlag)]);
  for (const word of words) expect(script).toContain(shell === 'fish' ? word.replace(/^--/, '-l ') : word);
});

test.each(SHELLS)('the script for %s runs no program: words on the command line are never evaluated', (shell) => {
  expect(completionScript(shell)).not.toMatch(/\beval\b|waypost complet(e|ion) --/);
});

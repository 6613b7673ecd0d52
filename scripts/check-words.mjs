// Refuses the words that docs/glossary.md bans, in every file that git tracks. What was true of its time stays as it was written: the changelog, and
// migrations, whose text must not change.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

const GLOSSARY = 'docs/glossary.md';
const TEXT = /\.(ts|mjs|js|md|ya?ml|sh|sql)$/;
const EXEMPT = [/^CHANGELOG\.md$/, /\/migrations\//, /^docs\/glossary\.md$/];

const [, banned = ''] = readFileSync(GLOSSARY, 'utf8').split('## Words that are not used');
const rows = [...banned.matchAll(/^\| (?!word |-)([^|]+) \| ([^|]+) \|$/gm)];
const insteadOf = new Map(rows.flatMap(([, words, instead]) => words.split(',').map((word) => [word.trim(), instead.trim()])));
if (insteadOf.size === 0) throw new Error(`${GLOSSARY} bans no word.`);
const pattern = new RegExp(`(?<![\\w-])(${[...insteadOf.keys()].join('|').replaceAll(' ', '\\s+')})(?![\\w-])`, 'gi');

const files = execFileSync('git', ['ls-files', '-z'], { encoding: 'utf8' }).split('\0');
const faults = files
  // Git still lists a file that is deleted and not staged.
  .filter((file) => TEXT.test(file) && existsSync(file) && !EXEMPT.some((exempt) => exempt.test(file)))
  .flatMap((file) =>
    readFileSync(file, 'utf8')
      .split('\n')
      .flatMap((line, at) => faultsOf(line, `${file}:${at + 1}`)),
  );

for (const fault of faults) console.error(fault);
if (faults.length > 0) process.exitCode = 1;

/**
 * @param {string} line
 * @param {string} place
 */
function faultsOf(line, place) {
  return [...line.matchAll(pattern)].map(
    ([word]) => `${place}: "${word}": write: ${insteadOf.get(word.toLowerCase().replaceAll(/\s+/g, ' '))}`,
  );
}

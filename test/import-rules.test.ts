import { ESLint } from 'eslint';

// Only the import rules: the type-aware ones need the whole program, and every import rule is plain syntax.
const IMPORT_RULES = ['no-restricted-imports', 'no-restricted-syntax'];
const eslint = new ESLint({
  cwd: process.cwd(),
  ruleFilter: ({ ruleId }) => IMPORT_RULES.includes(ruleId),
  overrideConfig: { languageOptions: { parserOptions: { projectService: false } } },
});

async function complaints(filePath: string, code: string): Promise<string[]> {
  const [result] = await eslint.lintText(code, { filePath });
  const messages = result?.messages ?? [];
  expect(messages.filter(({ ruleId }) => ruleId === null)).toEqual([]);
  return messages.map(({ message }) => message);
}

const CONTRACTS_ONLY = 'libs/contracts imports nothing but node:crypto, zod and itself';
const APPS_APART = 'The apps never import each other';
const ALIASES = 'Import libraries only as @waypost/contracts, @waypost/runtime, @waypost/runtime/service and @waypost/command-line';
const NO_APPS = 'Libraries never import an app';
const NO_TOOLING = 'What ships never imports scripts';

describe('the import rules refuse', () => {
  test.each([
    ['libs/contracts/src/x.ts', 'node:fs', CONTRACTS_ONLY],
    ['libs/contracts/src/x.ts', 'pg', CONTRACTS_ONLY],
    ['libs/contracts/src/x.ts', 'zod/mini', CONTRACTS_ONLY],
    ['libs/contracts/src/x.ts', '@waypost/runtime', CONTRACTS_ONLY],
    ['libs/contracts/src/x.ts', '@waypost/contracts', CONTRACTS_ONLY],
    ['libs/contracts/src/x.ts', '../../runtime/src/index.js', CONTRACTS_ONLY],
    ['libs/contracts/src/x.ts', '../../../apps/central-api/src/config.js', NO_APPS],
    ['libs/contracts/src/x.test.ts', '../../runtime/src/index.js', CONTRACTS_ONLY],
    ['libs/runtime/src/x.ts', '../../../apps/edge-service/src/config.js', NO_APPS],
    ['libs/runtime/src/x.ts', '../../contracts/src/chunker.js', ALIASES],
    ['libs/runtime/src/x.ts', '@waypost/contracts/chunker', ALIASES],
    ['libs/runtime/src/x.ts', '@waypost/runtime', 'Inside libs/runtime import the file itself'],
    ['libs/runtime/src/x.ts', '../../../test/support.js', NO_TOOLING],
    ['libs/runtime/src/x.test.ts', '../../../apps/edge-service/src/config.js', NO_APPS],
    ['libs/command-line/src/x.ts', '@waypost/runtime', 'a command must start in a moment'],
    ['libs/command-line/src/x.ts', '../../../apps/central-api/src/config.js', NO_APPS],
    ['libs/runtime/src/x.ts', '../../command-line/src/table.js', ALIASES],
    ['apps/central-api/src/http/x.ts', '../../../edge-service/src/config.js', APPS_APART],
    ['apps/central-api/src/http/x.test.ts', '../../../edge-service/src/config.js', APPS_APART],
    ['apps/edge-service/src/cycle/x.ts', '../../../../apps/central-api/src/config.js', APPS_APART],
    ['apps/edge-service/src/cycle/x.test.ts', '../../../central-api/src/config.js', APPS_APART],
    ['apps/central-api/src/http/x.ts', '../../../../libs/contracts/src/chunker.js', ALIASES],
    ['apps/edge-service/src/cycle/x.ts', '@waypost/runtime/src/postgres.js', ALIASES],
    ['apps/edge-service/src/cycle/x.ts', '@waypost/runtime/service/x.js', ALIASES],
    ['libs/runtime/src/x.ts', '@waypost/runtime/service', 'Inside libs/runtime import the file itself'],
    ['apps/edge-service/src/cycle/x.ts', '../../../../scripts/start.js', NO_TOOLING],
    ['scripts/x.ts', '../libs/runtime/src/postgres.js', ALIASES],
    ['test/x.test.ts', '../libs/contracts/src/chunker.js', ALIASES],
  ])('%s importing %s, in every form of import', async (file, specifier, message) => {
    const forms = [
      `import { x } from '${specifier}'; x();`,
      `import type { X } from '${specifier}'; export type Y = X;`,
      `export * from '${specifier}';`,
      `void import('${specifier}');`,
    ];
    for (const form of forms) expect(await complaints(file, form)).toContainEqual(expect.stringContaining(message));
  });
});

describe('the import rules allow', () => {
  test.each([
    ['libs/contracts/src/x.ts', ['./errors.js', 'node:crypto', 'zod']],
    ['libs/contracts/src/x.test.ts', ['./errors.js', 'fast-check', 'node:fs']],
    ['libs/runtime/src/x.ts', ['./postgres.js', '@waypost/contracts', 'pg', 'node:fs']],
    ['libs/command-line/src/x.ts', ['./table.js', '@waypost/contracts', 'commander', 'pg']],
    [
      'apps/central-api/src/http/x.ts',
      ['../config.js', '../snapshots/x.js', '@waypost/contracts', '@waypost/runtime/service', '@nestjs/common'],
    ],
    ['apps/edge-service/src/central/x.ts', ['../config.js', '../central/client.js', '@waypost/contracts', '@waypost/runtime', 'undici']],
    ['apps/edge-service/src/central/x.pg.test.ts', ['../../../../test/support.js', '@waypost/runtime']],
    ['scripts/x.ts', ['@waypost/runtime', '@waypost/contracts']],
  ])('%s importing %j', async (file, specifiers) => {
    for (const specifier of specifiers) expect(await complaints(file, `export * from '${specifier}';`)).toEqual([]);
  });
});

import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';

const TESTS = '**/*.test.ts';

/**
 * One import rule: forbids whatever matches `regex`, in import and export declarations and in import().
 * @param {string} regex matched against the specifier as it is written
 * @param {string} message what to do instead
 */
const forbid = (regex, message) => ({ regex, message });

/** @param {{ regex: string, message: string }[]} rules */
function importRules(...rules) {
  return {
    'no-restricted-imports': ['error', { patterns: rules }],
    'no-restricted-syntax': [
      'error',
      ...rules.map(({ regex, message }) => ({
        // A slash would end the selector's regular expression.
        selector: `ImportExpression[source.value=/${regex.replaceAll('/', '\\u002f')}/]`,
        message,
      })),
    ],
  };
}

const aliasesOnly = forbid(
  '^\\.\\.?/(.*/)?libs/|^\\.\\./(.*/)?(command-line|contracts|runtime)/|^@waypost/(?!runtime/service$)[^/]+/',
  'Import libraries only as @waypost/contracts, @waypost/runtime, @waypost/runtime/service and @waypost/command-line: what their index.ts exports is their contract.',
);
const noApps = forbid('^\\.\\./(.*/)?(apps/|central-api/|edge-service/)', 'Libraries never import an app: contracts ← runtime ← apps.');
const noTooling = forbid('^\\.\\./(.*/)?(scripts|bench|test)/', 'What ships never imports scripts, benchmarks or test support.');
const noCentral = forbid('^\\.\\./(.*/)?central-api/', 'The apps never import each other: what both need belongs to libs/.');
const noEdge = forbid('^\\.\\./(.*/)?edge-service/', 'The apps never import each other: what both need belongs to libs/.');
const onlyZodAndCrypto = forbid('^(?!\\./|\\.\\./|node:crypto$|zod$)', 'libs/contracts imports nothing but node:crypto, zod and itself.');
const noRuntime = forbid('^\\.\\./(.*/)?runtime/|^@waypost/', 'libs/contracts imports nothing but node:crypto, zod and itself.');
const notHeavy = forbid(
  '^@waypost/(?!contracts$)',
  'libs/command-line imports contracts, commander and pg alone: a command must start in a moment.',
);
const noOwnAlias = forbid(
  '^@waypost/(runtime|command-line)',
  'Inside libs/runtime import the file itself, else its index.ts imports itself; commands are the apps’ business.',
);

export default defineConfig(
  globalIgnores(['dist/', 'var/', 'coverage/']),
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      // Beside `using` and `try`, a promise that is returned without await is awaited too late.
      '@typescript-eslint/return-await': ['error', 'error-handling-correctness-only'],
      // Leaves files with decorators alone: Nest injects by the types that decorators record, so those must stay value imports.
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'separate-type-imports' }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      // Interfaces of Nest and node are often async where one implementation has nothing to wait for.
      '@typescript-eslint/require-await': 'off',
    },
  },
  {
    files: [TESTS],
    rules: {
      // Jest types what expect.anything() and its kin give as any.
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  // What may import what. A later block replaces the rules of an earlier one for its files.
  { files: ['**/*.ts'], rules: importRules(aliasesOnly) },
  { files: ['libs/contracts/**/*.ts'], rules: importRules(onlyZodAndCrypto, noRuntime, noApps, noTooling) },
  { files: [`libs/contracts/${TESTS}`], rules: importRules(noRuntime, noApps) },
  { files: ['libs/runtime/**/*.ts'], rules: importRules(aliasesOnly, noOwnAlias, noApps, noTooling) },
  { files: [`libs/runtime/${TESTS}`], rules: importRules(aliasesOnly, noOwnAlias, noApps) },
  { files: ['libs/command-line/**/*.ts'], rules: importRules(aliasesOnly, notHeavy, noApps, noTooling) },
  { files: [`libs/command-line/${TESTS}`], rules: importRules(aliasesOnly, notHeavy, noApps) },
  { files: ['apps/central-api/**/*.ts'], rules: importRules(aliasesOnly, noEdge, noTooling) },
  { files: [`apps/central-api/${TESTS}`], rules: importRules(aliasesOnly, noEdge) },
  { files: ['apps/edge-service/**/*.ts'], rules: importRules(aliasesOnly, noCentral, noTooling) },
  { files: [`apps/edge-service/${TESTS}`], rules: importRules(aliasesOnly, noCentral) },
);

import type { Config } from 'jest';

const config: Config = {
  testEnvironment: 'node',
  roots: ['apps', 'libs', 'scripts', 'bench', 'test'].map((folder) => `<rootDir>/${folder}`),
  testMatch: ['**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: {
    '^@waypost/(command-line|contracts|runtime)$': '<rootDir>/libs/$1/src/index.ts',
    '^@waypost/runtime/service$': '<rootDir>/libs/runtime/src/service/index.ts',
    // Sources import each other as the emitted .js files.
    '^(\\.{1,2}/.*)\\.js$': '$1',
  },
  transform: {
    '\\.ts$': [
      '@swc/jest',
      {
        // As tsconfig.json: Nest injects by the types that decorators record.
        jsc: {
          target: 'es2023',
          parser: { syntax: 'typescript', decorators: true },
          transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: false },
          keepClassNames: true,
        },
        module: { type: 'es6' },
        sourceMaps: 'inline',
      },
    ],
  },
  // Tests that start a PostgreSQL or whole processes take long on a busy two-core machine; a pure one never comes near.
  testTimeout: 120_000,
  maxWorkers: 2,
  // Each file's modules stay in memory (ESM in vm contexts): after a hundred files a worker had 4 GB, and spent its time collecting garbage.
  workerIdleMemoryLimit: '1GB',
  testSequencer: '<rootDir>/test/support/slow-first.mjs',
  reporters: ['default', '<rootDir>/test/support/slowest-files.mjs'],
};

export default config;

/**
 * The folders of each part, from top to bottom: a folder imports only what stands below it. `npm run check` enforces this order with
 * dependency-cruiser, and a test compares it with the tables of docs/architecture.md. `.` stands for the files beside the folders.
 * A folder that is named with its subfolder (`chunk-store/gc`) stands apart from the rest of it.
 */
export const LAYERS = {
  'libs/command-line/src': ['index.ts', 'run', 'grammar', 'text', 'read'],
  'libs/runtime/src': ['index.ts', 'service', 'http', 'health', 'postgres', 'telemetry', 'system', 'errors', 'config'],
  'apps/central-api/src': [
    'main.ts',
    'http-app.ts',
    'app.module.ts',
    'cli',
    'http',
    'health',
    'maintenance',
    'admission',
    'acks',
    'manifests',
    'snapshots',
    'capture',
    'chunk-store/check',
    'chunk-store/gc',
    'chunk-store',
    'audit',
    'scopes',
    'plan',
    'epochs',
    'metrics',
    'database',
    'settings.module.ts',
    'config.ts',
  ],
};

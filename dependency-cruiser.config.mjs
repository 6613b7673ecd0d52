import { LAYERS } from './layers.mjs';

const TESTS = '(\\.test\\.ts|/testing/.*)$';

/** @param {string} text */
const escape = (text) => text.replaceAll(/[.\\/]/g, '\\$&');

/**
 * Matches what is in one layer and in no other: `chunk-store` without `chunk-store/gc` where that is a layer of its own.
 * @param {string} root
 * @param {string[]} layers
 * @param {string} layer
 */
function inLayer(root, layers, layer) {
  if (layer.endsWith('.ts')) return `^${escape(`${root}/${layer}`)}$`;
  const apart = layers.filter((other) => other.startsWith(`${layer}/`)).map((other) => escape(other.slice(layer.length + 1)));
  return `^${escape(`${root}/${layer}/`)}${apart.length > 0 ? `(?!(?:${apart.join('|')})/)` : ''}`;
}

/** One rule for each layer: it imports nothing of the layers above it. */
const upward = Object.entries(LAYERS).flatMap(([root, layers]) =>
  layers.slice(1).map((layer, at) => ({
    name: `${root.replace('/src', '')}: ${layer} imports only what stands below it (layers.mjs)`,
    severity: 'error',
    from: { path: inLayer(root, layers, layer), pathNot: TESTS },
    to: { path: layers.slice(0, at + 1).map((above) => inLayer(root, layers, above)) },
  })),
);

/** A folder that no layer names would be checked by nothing. */
const unnamed = Object.entries(LAYERS).map(([root, layers]) => ({
  name: `${root.replace('/src', '')}: every folder stands in layers.mjs`,
  severity: 'error',
  from: { path: `^${escape(`${root}/`)}`, pathNot: [TESTS, ...layers.map((layer) => inLayer(root, layers, layer))] },
  to: {},
}));

/** Code runs the statements of its own folder; what it needs of another one is a function there. SQL may be made of another folder's parts. */
const foreignSql = {
  name: 'only SQL is made of the SQL of another folder',
  severity: 'error',
  from: { path: '^apps/([^/]+)/src/([^/]+)/', pathNot: [TESTS, '\\.sql\\.ts$'] },
  to: { path: '^apps/[^/]+/src/.*\\.sql\\.ts$', pathNot: '^apps/$1/src/$2/' },
};

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    {
      name: 'files do not import each other, directly or through others',
      severity: 'error',
      from: { pathNot: TESTS },
      to: { circular: true },
    },
    ...upward,
    ...unnamed,
    foreignSql,
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(dist|var|coverage)/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'types', 'node', 'default'] },
  },
};

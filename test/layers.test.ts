import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

interface Rule {
  from: { path?: string; pathNot?: string | string[] };
  to: { path?: string | string[] };
}

const load = async (file: string): Promise<unknown> => import(join(process.cwd(), file));
const { LAYERS } = (await load('layers.mjs')) as { LAYERS: Record<string, string[]> };
const { default: config } = (await load('dependency-cruiser.config.mjs')) as { default: { forbidden: Rule[] } };

const matches = (patterns: string | string[] | undefined, path: string): boolean =>
  [patterns ?? []].flat().some((pattern) => new RegExp(pattern).test(path));

/** Whether a rule about folders refuses the import. */
function isRefused(from: string, to: string): boolean {
  return config.forbidden.some(
    (rule) => rule.to.path && matches(rule.from.path, from) && !matches(rule.from.pathNot, from) && matches(rule.to.path, to),
  );
}

describe.each(Object.entries(LAYERS))('%s', (root, layers) => {
  const fileIn = (layer: string): string => `${root}/${layer.endsWith('.ts') ? layer : `${layer}/x.ts`}`;

  test('every import of a layer above is refused, every other one is allowed', () => {
    for (const [from, lower] of layers.entries()) {
      for (const [to, other] of layers.entries())
        expect({ lower, other, refused: isRefused(fileIn(lower), fileIn(other)) }).toEqual({ lower, other, refused: to < from });
    }
  });

  test('tests may import everything', () => {
    const lowest = layers.findLast((layer) => !layer.endsWith('.ts')) as string;
    expect(isRefused(`${root}/${lowest}/x.test.ts`, fileIn(layers[0] as string))).toBe(false);
  });

  test('docs/architecture.md has its folders in this order', async () => {
    const page = await readFile('docs/architecture.md', 'utf8');
    const section = page.split(/^###? /m).find((text) => text.startsWith(root)) ?? '';
    const folders = [...section.matchAll(/^\| `([\w/-]+)\/` \|/gm)].map(([, folder]) => folder);
    expect(folders).toEqual(layers.filter((layer) => !layer.endsWith('.ts')));
  });
});

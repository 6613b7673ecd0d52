import type { z } from 'zod';
import { schema as centralSchema } from '../../apps/central-api/src/config.js';
import { configSchema as edgeSchema } from '../../apps/edge-service/src/config.js';

const HEAD = `# Configuration

After this page you know each setting of both services, its default and what it does.

Settings are environment variables. Each service checks all of them at its start, lists every fault at once (\`CONFIG_INVALID\`) and never prints a value. A variable that is set to nothing counts as not set.

- Durations are written \`250ms\`, \`30s\`, \`5m\`, \`12h\` or \`7d\`; sizes \`512KiB\`, \`64MiB\` or \`2GiB\`.
- With containers, the settings are in \`.env\`: [deploy.md](deploy.md).

This page is generated from the schemas that check the settings, by \`npm run docs:configuration\`. A test fails when the page differs.
`;

/** docs/configuration.md, from the schemas in both services' config.ts. */
export function configurationPage(): string {
  return [HEAD, section('Central', centralSchema), section('Edge', edgeSchema)].join('\n');
}

function section(title: string, { shape }: z.ZodObject): string {
  const rows = Object.entries(shape).map(([name, type]) => row(name, type as z.ZodType));
  return [`## ${title}`, '', '| variable | default | meaning |', '|---|---|---|', ...rows, ''].join('\n');
}

/** @throws Error for a setting without description */
function row(name: string, type: z.ZodType): string {
  if (type.description === undefined) throw new Error(`${name} has no description: add one with .describe()`);
  return `| \`${name}\` | ${defaultOf(type)} | ${type.description} |`;
}

function defaultOf(type: z.ZodType): string {
  const fallback: unknown = type.safeParse(undefined).data;
  if (!type.safeParse(undefined).success) return 'required';
  if (fallback === undefined) return 'off';
  const written = writtenDefault(type) ?? SPELLINGS.map((spell) => spell(fallback)).find((text) => isSame(type, text, fallback));
  if (written === undefined) throw new Error('a default that no text gives: add its spelling');
  return written === '' ? 'none' : `\`${written}\``;
}

/** The default of a setting that parses it as it parses the environment. */
function writtenDefault(type: z.ZodType): string | undefined {
  let inner = type as z.ZodType & { def: { type: string; defaultValue?: unknown; in?: z.ZodType } };
  while (inner.def.type === 'pipe' && inner.def.in) inner = inner.def.in;
  const { defaultValue } = inner.def;
  return typeof defaultValue === 'string' ? defaultValue : undefined;
}

/** How a default that is a number may have been written, shortest units last. */
const SPELLINGS: readonly ((value: unknown) => string)[] = [
  (value) => String(value),
  ...(
    [
      ['d', 86_400_000],
      ['h', 3_600_000],
      ['m', 60_000],
      ['s', 1000],
      ['ms', 1],
      ['GiB', 1 << 30],
      ['MiB', 1 << 20],
      ['KiB', 1 << 10],
    ] as const
  ).map(
    ([unit, size]) =>
      (value: unknown) =>
        `${Number(value) / size}${unit}`,
  ),
];

/** Whether a text gives the default; one of a part of a unit is not how it is written. */
function isSame(type: z.ZodType, text: string, value: unknown): boolean {
  return !text.includes('.') && type.safeParse(text).data === value;
}

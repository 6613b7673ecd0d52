import { isIP } from 'node:net';
import { WaypostError } from '@waypost/contracts';
import { z } from 'zod';

const DAY_MS = 86_400_000;
const UNIT_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: DAY_MS };
/** setTimeout's limit; it fires at once for a longer delay. */
const MAX_DURATION_MS = 2 ** 31 - 1;

/** `250ms`, `30s`, `5m`, `12h`, `7d` or `0`, as milliseconds; short enough for a timer. */
export const durationMs = duration(MAX_DURATION_MS, 'must be a duration of at most 24 days, such as 250ms, 30s, 5m or 12h');

/** A retention time. No timer waits for it, so it may be years. `0` keeps for ever. */
export const retentionMs = duration(36_500 * DAY_MS, 'must be 0 (keep for ever) or a time from 1h to 36500d, such as 12h or 90d').refine(
  (ms) => ms === 0 || ms >= 3_600_000,
  { message: 'must be 0 (keep for ever) or at least 1h' },
);

function duration(maxMs: number, message: string) {
  return z.string().transform((text, context) => {
    const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text.trim());
    const value = text.trim() === '0' ? 0 : match ? Number(match[1]) * (UNIT_MS[match[2] as string] as number) : NaN;
    if (value >= 0 && value <= maxMs) return Math.round(value);
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  });
}

const UNIT_BYTES: Record<string, number> = { KiB: 1 << 10, MiB: 1 << 20, GiB: 1 << 30 };

/** `512KiB`, `64MiB`, `2GiB` or `0`, as bytes. */
export const byteSize = z.string().transform((text, context) => {
  const match = /^(\d+)(KiB|MiB|GiB)$/.exec(text.trim());
  if (text.trim() === '0') return 0;
  if (match) return Number(match[1]) * (UNIT_BYTES[match[2] as string] as number);
  context.addIssue({ code: 'custom', message: 'must be a size such as 512KiB, 64MiB or 2GiB' });
  return z.NEVER;
});

/** A whole number within bounds, from text. */
export function integer(min: number, max: number) {
  return z
    .string()
    .regex(/^\d+$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.int().min(min, `must be at least ${min}`).max(max, `must be at most ${max}`));
}

export const portNumber = integer(0, 65535);

export const databaseUrl = z.string().refine((text) => /^postgres(ql)?:$/.test(URL.parse(text)?.protocol ?? ''), {
  message: 'must be a URL such as postgres://user:password@host:5432/database',
});

export const httpUrl = z
  .string()
  .refine((text) => /^https?:$/.test(URL.parse(text)?.protocol ?? ''), { message: 'must be an http:// or https:// URL' })
  .transform((text) => text.replace(/\/+$/, ''));

const IP_BITS: Record<number, number> = { 4: 32, 6: 128 };

/** `10.0.0.7, 192.0.2.0/24, fd00::/8`: addresses and networks, separated by commas. */
export const networks = z.string().transform((text, context) => {
  const listed = text.split(',').map((network) => network.trim());
  if (listed.every(isNetwork)) return listed;
  context.addIssue({ code: 'custom', message: 'must be addresses and networks, separated by commas, such as 10.0.0.7, 192.0.2.0/24' });
  return z.NEVER;
});

function isNetwork(text: string): boolean {
  const [, address = '', bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const all = IP_BITS[isIP(address)];
  return all !== undefined && Number(bits ?? all) <= all;
}

export const logLevel = z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']);

/**
 * Validates the environment. An empty variable counts as not set.
 * @throws WaypostError CONFIG_INVALID that names every faulty variable, never its value
 */
export function readConfig<Schema extends z.ZodObject>(schema: Schema, env: NodeJS.ProcessEnv): z.infer<Schema> {
  const given = Object.fromEntries(Object.entries(env).filter(([name, value]) => name in schema.shape && value !== ''));
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path, message, code }) => {
    const name = String(path[0]);
    return given[name] === undefined && code === 'invalid_type' ? `${name} is not set` : `${name} ${message}`;
  });
  throw new WaypostError('CONFIG_INVALID', { detail: faults.join('; ') });
}

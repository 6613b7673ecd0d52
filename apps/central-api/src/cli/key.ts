import { type Answer, type CommandContext, ExitCode, formatSpan } from '@waypost/command-line';
import { type Right, RIGHTS, WaypostError } from '@waypost/contracts';
import { addKey, findKey, listKeys, type ProgramKey, revokeKey } from '../read-models/program-keys.js';
import { operator, write } from './write.js';

const DEFAULT_LIMIT = 1000;
const DAY_MS = 86_400_000;
const DEFAULT_LIFE_MS = 365 * DAY_MS;
const MAX_LIFE_MS = 3650 * DAY_MS;
const NAME = /^[A-Za-z][A-Za-z0-9._-]{0,62}$/;

/** `waypost key add`: a key for a program. */
export async function keyAdd(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const [name, rights] = [context.option('name'), rightsOf(context.option('allow'))];
  if (name === undefined || !NAME.test(name))
    throw usage('Name the program (--name): up to 63 letters, digits, dots, hyphens and underscores, a letter first.');
  const lifeMs = context.duration('for', MAX_LIFE_MS) ?? DEFAULT_LIFE_MS;
  const { key, secret } = await write(context, 'api_keys', (query) => addKey(query, { name, rights, lifeMs, by: operator() }));
  const text = [
    `A key for ${key.name}, with the rights ${key.rights.join(', ')}.`,
    `It is valid until ${key.expiresAt.toISOString()}, and is not shown again. The program sends:`,
    '',
    `  X-API-Key: ${secret}`,
  ].join('\n');
  return { data: { ...dataOf(key), key: secret }, text, exitCode: ExitCode.ok };
}

/** `waypost key list`: all keys, without their secrets. */
export async function keyList(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const keys = await listKeys(context.database.query, context.limit(DEFAULT_LIMIT));
  const text = keys.length === 0 ? 'There is no API key yet: waypost key add --name NAME --allow RIGHTS' : tableOf(context, keys);
  return { data: { keys: keys.map(dataOf) }, text, exitCode: ExitCode.ok };
}

/** `waypost key show`: one key. */
export async function keyShow(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const key = await findKey(context.database.query, context.subject);
  return { data: { key: dataOf(key) }, text: tableOf(context, [key]), exitCode: ExitCode.ok };
}

/** `waypost key revoke`: it is refused from the next request on. */
export async function keyRevoke(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const key = await findKey(context.database.query, context.subject);
  const revoked = await write(context, 'api_keys', (query) => revokeKey(query, key.id));
  const text = revoked
    ? context.paint('good', `${key.name} is revoked: its next request is refused.`)
    : `${key.name} was not in force any more.`;
  return { data: { id: key.id, revoked }, text, exitCode: revoked ? ExitCode.ok : ExitCode.finding };
}

function tableOf(context: CommandContext, keys: readonly ProgramKey[]): string {
  const TONES = { active: 'good', expired: 'warn', revoked: 'bad' } as const;
  return context.table(
    [
      { title: 'key' },
      { title: 'rights', elastic: true },
      { title: 'state' },
      { title: 'expires' },
      { title: 'used ago', align: 'right' },
      { title: 'made by' },
    ],
    keys.map((key) => [
      key.name,
      key.rights.join(', '),
      { text: key.state, tone: TONES[key.state] },
      key.expiresAt.toISOString().slice(0, 10),
      key.lastUsedAt && formatSpan(Math.max(0, Date.now() - key.lastUsedAt.getTime())),
      key.createdBy,
    ]),
  );
}

function dataOf(key: ProgramKey): object {
  return {
    ...key,
    createdAt: key.createdAt.toISOString(),
    expiresAt: key.expiresAt.toISOString(),
    lastUsedAt: key.lastUsedAt?.toISOString() ?? null,
    revokedAt: key.revokedAt?.toISOString() ?? null,
  };
}

function rightsOf(text = ''): Right[] {
  const rights = new Set(text.split(',').map((right) => right.trim().toLowerCase()));
  const unknown = [...rights].find((right) => !RIGHTS.includes(right as Right));
  if (unknown === undefined) return RIGHTS.filter((right) => rights.has(right));
  throw usage(`Say what it may do (--allow): ${RIGHTS.join(', ')}. ${unknown ? `${JSON.stringify(unknown)} is none of them.` : ''}`.trim());
}

function usage(detail: string): WaypostError {
  return new WaypostError('CONFIG_INVALID', { detail, hint: 'waypost key add --name prometheus --allow metrics,status --for 90d' });
}

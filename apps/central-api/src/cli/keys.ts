import { type Answer, type CommandContext, ExitCode, formatTime, renderFacts } from '@waypost/command-line';
import { type SignedTrust, WaypostError } from '@waypost/contracts';
import { exportRoot } from '../trust/export-root.js';
import { KEY_LIFE_MS, listTrust, rotateTrust } from '../trust/rotate-trust.js';
import { makeRootKey, readRootKey } from '../trust/root-key-file.js';
import { ledgerSigner } from '../trust/rotate-ledger-key.js';
import { readSigningKeys } from '../trust/signing-keys.js';
import { operator, write } from './write.js';

const DEFAULT_LIMIT = 20;
const DAY_MS = 86_400_000;
const MOST_DAYS = 3650;

/** `waypost keys show`: which keys sign manifests and the ledger, and where the root key is. */
export async function keysShow(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const versions = await listTrust(context.database.query, context.limit(DEFAULT_LIMIT));
  const [latest] = versions;
  if (!latest) throw noTrust();
  const data = describe(latest.signed, await heldKids(context));
  const history = versions.map(({ signed: { document }, createdAt, createdBy }) => ({
    version: document.version,
    createdAt: createdAt.toISOString(),
    createdBy,
    rootKeys: document.rootKeys.map(({ kid }) => kid),
    keys: document.keys.map(({ kid }) => kid),
  }));
  const table = context.table(
    [{ title: 'key', elastic: true }, { title: 'use' }, { title: 'expires' }, { title: 'state' }],
    [
      ...data.rootKeys.map(({ kid, place }) => [kid, 'root', null, place]),
      ...data.keys.map(({ kid, use, expiresAt, state }) => [kid, use, formatTime(expiresAt), state]),
    ],
  );
  const made = context.table(
    [{ title: 'version', align: 'right' }, { title: 'made' }, { title: 'by', elastic: true }],
    history.map(({ version, createdAt, createdBy }) => [String(version), formatTime(createdAt), createdBy]),
  );
  const isGood = data.keys.some(({ use, state }) => use === 'manifest' && state === 'signs');
  return {
    data: { ...data, versions: history },
    text: [factsOf(context, data), '', table, '', made].join('\n'),
    exitCode: isGood ? ExitCode.ok : ExitCode.finding,
  };
}

/** `waypost keys rotate`: new keys for manifests and the ledger, and with --root a new root key. Devices follow by themselves. */
export async function keysRotate(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const [root, revokes] = [context.flag('root'), context.flag('revokeNow')];
  const [rootFile, newRootFile] = [context.option('rootKey'), context.option('newRootKey')];
  if (newRootFile !== undefined && !root) throw usage('--new-root-key is where --root writes the new root key to: add --root.');
  if (rootFile !== undefined && root && newRootFile === undefined)
    throw usage('The root key is offline, and so is its successor: say with --new-root-key FILE where it is to be written to.');
  const lifeMs = lifeOf(context.option('days'));
  const rootKey = rootFile === undefined ? undefined : await readRootKey(rootFile);
  // On disk before any device is told of it.
  const newRootKey = newRootFile === undefined ? undefined : await makeRootKey(newRootFile);
  const signed = await write(context, 'trust_documents', (query) =>
    rotateTrust(query, { by: operator(), lifeMs, revokes, root, rootKey, newRootKey }),
  );
  const data = describe(signed, await heldKids(context));
  const text = [
    context.paint('good', `Trust document ${signed.document.version} is in force.`),
    factsOf(context, data),
    '',
    revokes
      ? 'The keys before sign nothing any more for a device that has this document; each gets it with its next request. Central uses the new ones within 10 s.'
      : 'Central uses the new keys within 10 s; devices learn of them with their next request. The keys before stay valid for a day.',
    ...(newRootFile === undefined
      ? []
      : [`The new root key is in ${newRootFile}: store it in a safe place, twice. The one before has no use any more.`]),
  ].join('\n');
  return { data, text, exitCode: ExitCode.ok };
}

/** `waypost keys export-root`: the root key leaves central's database for a file. */
export async function keysExportRoot(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const file = context.subject;
  const kid = await write(context, 'signing_keys', (query) => exportRoot(query, file));
  const text = [
    context.paint('good', `The root key ${kid} is in ${file}, and no longer in central’s database.`),
    'Store it in a safe place, twice: without it the keys of this fleet cannot be replaced. Backups of the database that were made before still hold it:',
    'waypost keys rotate --root --root-key FILE --new-root-key FILE makes one that was never there.',
  ].join('\n');
  return { data: { kid, file }, text, exitCode: ExitCode.ok };
}

function lifeOf(days: string | undefined): number {
  if (days === undefined) return KEY_LIFE_MS;
  if (/^[1-9]\d{0,3}$/.test(days) && Number(days) <= MOST_DAYS) return Number(days) * DAY_MS;
  throw usage(`--days ${JSON.stringify(days)} is not a count of days from 1 to ${MOST_DAYS}.`);
}

type Described = ReturnType<typeof describe>;

function describe({ document }: SignedTrust, held: ReadonlySet<string>) {
  // The first of each use.
  const signing = new Set([...new Map(document.keys.toReversed().map(({ use, kid }) => [use, kid])).values()]);
  const stateOf = ({ kid, expiresAt }: { kid: string; expiresAt: string }): string => {
    if (Date.parse(expiresAt) <= Date.now()) return 'expired';
    if (!signing.has(kid)) return 'valid';
    return held.has(kid) ? 'signs' : 'missing';
  };
  return {
    fleet: document.fleet,
    version: document.version,
    issuedAt: document.issuedAt,
    rootKeys: document.rootKeys.map(({ kid }) => ({ kid, place: held.has(kid) ? 'database' : 'offline' })),
    keys: document.keys.map((key) => ({ kid: key.kid, use: key.use, expiresAt: key.expiresAt, state: stateOf(key) })),
  };
}

function factsOf(context: CommandContext, { fleet, version, issuedAt, rootKeys, keys }: Described): string {
  const [signing] = keys;
  return renderFacts(
    [
      ['fleet', fleet],
      ['version', `${version}, made ${formatTime(issuedAt)}`],
      ['root key', rootKeys.map(({ kid, place }) => `${kid} (${place})`).join(', ')],
      ['signs', signing ? `${signing.kid}, until ${formatTime(signing.expiresAt)}` : 'nothing'],
    ],
    context.paint,
  );
}

async function heldKids(context: CommandContext): Promise<Set<string>> {
  const { query } = context.database;
  return new Set([...(await readSigningKeys(query)), await ledgerSigner(query)].map(({ kid }) => kid));
}

function noTrust(): WaypostError {
  return new WaypostError('TRUST_UNKNOWN', {
    detail: 'Central has made no keys yet.',
    hint: 'Start central once, or run: waypost keys rotate',
  });
}

function usage(detail: string): WaypostError {
  return new WaypostError('CONFIG_INVALID', { detail, hint: 'waypost keys rotate --root --root-key root.pem --new-root-key root-2.pem' });
}

import { type SignedTrust, type Signer, signTrust, type TrustDocument, type TrustKey, WaypostError } from '@waypost/contracts';
import type { Query } from '@waypost/runtime';
import { ensureLedgerSigner, ledgerSigner, rotateLedgerKey } from './rotate-ledger-key.js';
import { deleteSigningKeys, makeSigningKey, publicPartOf, readSigningKeys, type SigningKey } from './signing-keys.js';
import { ADD_TRUST, LIST_TRUST, LOCK_TRUST, READ_FLEET, READ_LATEST_TRUST } from './trust.sql.js';

/** How long a key signs manifests and checkpoints. Central replaces it before, where it has the root key. */
export const KEY_LIFE_MS = 365 * 86_400_000;
/** How long the key before stays valid: other replicas and answers on their way use it for seconds. */
const OVERLAP_MS = 86_400_000;

export interface Rotation {
  /** For the record. */
  by: string;
  lifeMs: number;
  /** The keys before sign nothing any more from now on: someone else may have them. */
  revokes?: boolean;
  /** Replace the root key, too. */
  root?: boolean;
  /** In place of the one in central's database. */
  rootKey?: Signer | undefined;
  /** The new root key, which central's database does not get. */
  newRootKey?: Signer | undefined;
}

/** The newest trust document, if there is one. */
export async function findTrust(query: Query): Promise<SignedTrust | undefined> {
  const [row] = await query<{ signed: SignedTrust }>(READ_LATEST_TRUST);
  return row?.signed;
}

/** A trust document, and who made it. */
export interface TrustVersion {
  signed: SignedTrust;
  createdAt: Date;
  createdBy: string;
}

/** The newest first; at most `limit`. */
export function listTrust(query: Query, limit: number): Promise<TrustVersion[]> {
  return query<TrustVersion>(LIST_TRUST, [limit]);
}

/** The newest trust document; the first one, with its keys, where there is none. In a transaction. */
export async function ensureTrust(query: Query, by: string): Promise<SignedTrust> {
  await query(LOCK_TRUST);
  return (await findTrust(query)) ?? (await createTrust(query, by));
}

async function createTrust(query: Query, by: string): Promise<SignedTrust> {
  const [state] = await query<{ fleet: string }>(READ_FLEET);
  const [root, online] = [await makeSigningKey(query, 'root'), await makeSigningKey(query, 'manifest')];
  const ledger = await ensureLedgerSigner(query);
  const now = Date.now();
  const document = {
    version: 1,
    fleet: (state as { fleet: string }).fleet,
    issuedAt: new Date(now).toISOString(),
    rootKeys: [publicPartOf(root)],
    keys: onlineKeys({ manifest: online, checkpoint: ledger }, now + KEY_LIFE_MS),
  };
  return store(query, signTrust(document, [root]), by);
}

/**
 * Makes new keys for manifests and for the ledger's checkpoints, and the trust document that names them. A key of the ledger that no document has named yet,
 * because an earlier central made the last one, is not replaced but named. What devices believe next is signed by a root key of the document before. In a
 * transaction.
 * @throws WaypostError CONFIG_INVALID where the root key is offline and not given, or is not the one in force
 */
export async function rotateTrust(query: Query, rotation: Rotation): Promise<SignedTrust> {
  const { document: before } = await ensureTrust(query, rotation.by);
  const keys = await readSigningKeys(query);
  const root = rootOf(before, keys, rotation);
  const successor = rotation.root ? (rotation.newRootKey ?? (await makeSigningKey(query, 'root'))) : root;
  const online = await makeSigningKey(query, 'manifest');
  const ledger = namesLedger(before) || rotation.revokes ? await rotateLedgerKey(query) : await ledgerSigner(query);
  const now = Date.now();
  const document: TrustDocument = {
    version: before.version + 1,
    fleet: before.fleet,
    issuedAt: new Date(now).toISOString(),
    rootKeys: rotation.root ? [publicPartOf(successor)] : before.rootKeys,
    keys: [
      ...onlineKeys({ manifest: online, checkpoint: ledger }, now + rotation.lifeMs),
      ...(rotation.revokes ? [] : stillValid(before.keys, now)),
    ],
  };
  const named = new Set([...document.rootKeys, ...document.keys].map(({ kid }) => kid));
  await deleteSigningKeys(
    query,
    keys.filter(({ kid }) => !named.has(kid)),
  );
  const signers = successor === root ? [root] : [root, successor];
  return store(query, signTrust(document, signers), rotation.by);
}

/** Those that have not expired, until OVERLAP_MS from now. */
function stillValid(keys: readonly TrustKey[], now: number): TrustKey[] {
  const valid = keys.filter(({ expiresAt }) => Date.parse(expiresAt) > now);
  return valid.map((key) => ({ ...key, expiresAt: new Date(Math.min(Date.parse(key.expiresAt), now + OVERLAP_MS)).toISOString() }));
}

/** @param signers by their use */
function onlineKeys(signers: Record<'manifest' | 'checkpoint', Signer>, expiresAtMs: number): TrustKey[] {
  const expiresAt = new Date(expiresAtMs).toISOString();
  return Object.entries(signers).map(([use, signer]) => ({ ...publicPartOf(signer), use, expiresAt }));
}

/** Whether a trust document says which keys sign the ledger. */
export function namesLedger({ keys }: TrustDocument): boolean {
  return keys.some(({ use }) => use === 'checkpoint');
}

function rootOf({ version, rootKeys }: TrustDocument, keys: readonly SigningKey[], { rootKey }: Rotation): Signer {
  const isRoot = ({ kid }: Signer): boolean => rootKeys.some((root) => root.kid === kid);
  if (rootKey) {
    if (isRoot(rootKey)) return rootKey;
    throw new WaypostError('CONFIG_INVALID', {
      detail: `The key ${rootKey.kid} is no root key of trust document ${version}: that names ${rootKeys.map(({ kid }) => kid).join(', ')}.`,
      hint: 'Give the file of the root key in force: --root-key FILE. waypost keys show prints its name.',
    });
  }
  const own = keys.find((key) => key.use === 'root' && isRoot(key));
  if (own) return own;
  throw new WaypostError('CONFIG_INVALID', {
    detail: `The root key ${rootKeys.map(({ kid }) => kid).join(', ')} is offline.`,
    hint: 'Give the file that waypost keys export-root wrote: --root-key FILE',
  });
}

async function store(query: Query, signed: SignedTrust, by: string): Promise<SignedTrust> {
  await query(ADD_TRUST, [signed.document.version, JSON.stringify(signed), by]);
  return signed;
}

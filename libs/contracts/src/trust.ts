import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson } from './canonical-json.js';
import { WaypostError } from './errors.js';
import { fleetName, keyThumbprint, thumbprintSchema } from './identity.js';
import { ulidSchema } from './manifest.js';
import { formatVerifierKey, verifierKey } from './signed-note.js';

/**
 * Whose manifests a device believes. A trust document names the keys of a fleet: root keys, which sign trust documents and may be kept away from central,
 * and online keys, with which central signs manifests and checkpoints of its ledger. A device pins one document when it enrolls; from there on it believes successors alone.
 */

/** Longer documents are refused before they are parsed. */
export const MAX_TRUST_BYTES = 64 << 10;
const MAX_ROOT_KEYS = 8;
const MAX_KEYS = 32;

/** What the signatures are over begins with one of these: none can be taken for another, or for a JWT. */
const TRUST_DOMAIN = 'waypost trust v1';
const MANIFEST_DOMAIN = 'waypost manifest v1';

/** An Ed25519 public key, by its thumbprint. */
const publicKeySchema = z
  .object({ kid: thumbprintSchema, /** 32 bytes in base64url, as in a JWK. */ x: z.string().regex(/^[\w-]{43}$/) })
  .refine(({ x }) => Buffer.from(x, 'base64url').toString('base64url') === x, { message: 'x must be base64url of 32 bytes' })
  .refine(({ kid, x }) => keyThumbprint(x) === kid, { message: 'kid must be the thumbprint of x' });

/** Ed25519, 64 bytes in base64url. */
const signatureSchema = z.string().regex(/^[\w-]{86}$/);

const distinct = (keys: readonly { kid: string }[]): boolean => new Set(keys.map(({ kid }) => kid)).size === keys.length;
const TWICE = { message: 'must name each key once' };

const trustDocumentSchema = z.object({
  /** From 1, without gaps. */
  version: z.int().positive(),
  /** ULID of the fleet. */
  fleet: ulidSchema,
  /** Central's clock. */
  issuedAt: z.iso.datetime(),
  /** Each of them may sign this document's successor. */
  rootKeys: z.array(publicKeySchema).min(1).max(MAX_ROOT_KEYS).refine(distinct, TWICE),
  /** The first of a use is the one that central signs with. */
  keys: z
    .array(
      publicKeySchema.and(
        z.object({
          /** `manifest` or `checkpoint`; later versions may have others. */ use: z.string().min(1).max(32),
          expiresAt: z.iso.datetime(),
        }),
      ),
    )
    .max(MAX_KEYS)
    .refine(distinct, TWICE),
});
export type TrustDocument = z.infer<typeof trustDocumentSchema>;
export type TrustKey = TrustDocument['keys'][number];

/** A trust document and who signed it. GET /api/device-sync/trust/:version */
export const signedTrustSchema = z.object({
  document: trustDocumentSchema,
  signatures: z
    .array(z.object({ kid: thumbprintSchema, signature: signatureSchema }))
    .min(1)
    .max(2 * MAX_ROOT_KEYS),
});
export type SignedTrust = z.infer<typeof signedTrustSchema>;

/** What central says of the manifest of each answer: it is this device's last one, at this moment. */
export const manifestSignatureSchema = z.object({
  kid: thumbprintSchema,
  /** Central's clock. Up to some hundredth of a manifest's life before the answer. */
  issuedAt: z.iso.datetime(),
  /** Version of the newest trust document. */
  trust: z.int().positive(),
  signature: signatureSchema,
});
export type ManifestSignature = z.infer<typeof manifestSignatureSchema>;

/** Path of one version of a fleet's trust document. The device names itself by `?mac=`. */
export function trustPath(version: number): string {
  return `/api/device-sync/trust/${version}`;
}

/** A private key and its name. */
export interface Signer {
  kid: string;
  privateKey: KeyObject;
}

/** @param signers root keys: one of the document itself, and one of its predecessor */
export function signTrust(document: TrustDocument, signers: readonly Signer[]): SignedTrust {
  const bytes = trustBytes(document);
  return {
    document,
    signatures: signers.map(({ kid, privateKey }) => ({ kid, signature: sign(null, bytes, privateKey).toString('base64url') })),
  };
}

/**
 * Checks the form of a trust document, and that one of its own root keys signed it. What this version does not know of it is kept, and signed, too.
 * @throws WaypostError MANIFEST_UNTRUSTED
 */
export function openTrust(received: unknown): SignedTrust {
  const parsed = signedTrustSchema.safeParse(received);
  if (!parsed.success) throw untrusted(`A trust document is malformed: ${z.prettifyError(parsed.error)}`);
  const signed = received as SignedTrust;
  mustBeSigned(signed, parsed.data.document);
  return signed;
}

/**
 * Checks that `received` is what follows a trusted document: the next version, of the same fleet, signed by a root key of both.
 * @throws WaypostError MANIFEST_UNTRUSTED
 */
export function openSuccessor(trusted: TrustDocument, received: unknown): SignedTrust {
  const signed = openTrust(received);
  const { fleet, version } = signed.document;
  if (fleet !== trusted.fleet)
    throw untrusted(`Trust document ${version} is of the fleet ${fleet}; this device belongs to ${trusted.fleet}.`);
  if (version !== trusted.version + 1) throw untrusted(`Trust document ${version} was sent where ${trusted.version + 1} follows.`);
  mustBeSigned(signed, trusted);
  return signed;
}

/** @param root whose root keys count */
function mustBeSigned({ document, signatures }: SignedTrust, root: TrustDocument): void {
  const bytes = trustBytes(document);
  const isSigned = signatures.some(({ kid, signature }) => {
    const key = root.rootKeys.find((one) => one.kid === kid);
    return key !== undefined && isSignature(bytes, key.x, signature);
  });
  if (isSigned) return;
  const whose = root.version === document.version ? 'its own' : `version ${root.version}, which this device trusts`;
  throw untrusted(`Trust document ${document.version} is not signed by a root key of ${whose}.`);
}

/** @throws WaypostError MANIFEST_UNTRUSTED when it has no canonical form */
function trustBytes(document: TrustDocument): Buffer {
  try {
    return Buffer.from(`${TRUST_DOMAIN}\n${canonicalJson(document)}`);
  } catch (cause) {
    throw untrusted(`A trust document has no canonical form: ${(cause as Error).message}`);
  }
}

/** What is said of a manifest. Its hash covers device, epoch, sequence, expiry and all tables. */
export interface ManifestStatement extends Pick<ManifestSignature, 'issuedAt' | 'trust'> {
  fleet: string;
  sha256: string;
}

export function signManifest({ kid, privateKey }: Signer, statement: ManifestStatement): ManifestSignature {
  const { issuedAt, trust } = statement;
  return { kid, issuedAt, trust, signature: sign(null, manifestBytes(statement), privateKey).toString('base64url') };
}

interface Signed {
  sha256: string;
  signature: ManifestSignature;
  /** Central's time, as far as it is known: a key that has expired by then signs nothing. */
  time: Date;
}

/**
 * Checks that a key of the trust document which may sign manifests, and has not expired, signed this one.
 * @throws WaypostError MANIFEST_UNTRUSTED
 */
export function checkManifestSignature(trusted: TrustDocument, { sha256, signature, time }: Signed): void {
  const { kid, issuedAt, trust } = signature;
  const key = trusted.keys.find((one) => one.kid === kid);
  if (!key) throw untrusted(`The key ${kid} that signed the manifest is not in trust document ${trusted.version}.`);
  if (key.use !== 'manifest') throw untrusted(`The key ${kid} is for ${JSON.stringify(key.use)}, and signed a manifest.`);
  if (Math.max(time.getTime(), Date.parse(issuedAt)) >= Date.parse(key.expiresAt))
    throw untrusted(
      `The key ${kid} that signed the manifest expired at ${key.expiresAt}.`,
      'Give central a new key: waypost keys rotate. Compare central’s clock with a time server, too.',
    );
  if (!isSignature(manifestBytes({ fleet: trusted.fleet, sha256, issuedAt, trust }), key.x, signature.signature))
    throw untrusted(`The signature by the key ${kid} is not one of this manifest for the fleet ${trusted.fleet}.`);
}

/**
 * The fleet's ledger, and the verifier keys of its checkpoints. Undefined where the document names none, as that of an earlier central does; no keys where all
 * that it names have expired.
 * @param time central's, as far as it is known
 */
export function ledgerKeysOf({ fleet, keys }: TrustDocument, time: Date): { origin: string; keys: string[] } | undefined {
  const named = keys.filter(({ use }) => use === 'checkpoint');
  if (named.length === 0) return undefined;
  const origin = fleetName(fleet);
  const valid = named.filter(({ expiresAt }) => time.getTime() < Date.parse(expiresAt));
  return { origin, keys: valid.map(({ x }) => formatVerifierKey(verifierKey(origin, publicKeyOf(x)))) };
}

function manifestBytes({ fleet, sha256, issuedAt, trust }: ManifestStatement): Buffer {
  return Buffer.from([MANIFEST_DOMAIN, fleet, sha256, issuedAt, trust].join('\n'));
}

function isSignature(bytes: Buffer, x: string, signature: string): boolean {
  return verify(null, bytes, publicKeyOf(x), Buffer.from(signature, 'base64url'));
}

function publicKeyOf(x: string): KeyObject {
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
}

function untrusted(detail: string, hint?: string): WaypostError {
  return new WaypostError('MANIFEST_UNTRUSTED', { detail, ...(hint === undefined ? {} : { hint }) });
}

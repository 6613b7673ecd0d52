import { askService, type CommandDatabase, problemOf, type Send } from '@waypost/command-line';
import { type Manifest, manifestPath, openManifest } from '@waypost/contracts';

/** What central says of a manifest that a device holds. */
export type CentralRecord =
  | { found: true; source: string; manifest: Manifest }
  /** It was asked, and cannot say. */
  | { found: false; source: string; reason: string };

const DOCUMENT = 'SELECT document FROM waypost.manifests WHERE manifest_id = $1 AND mac = $2';

/**
 * @param option what names the address, for error messages
 * @throws WaypostError CENTRAL_UNREACHABLE, CONFIG_INVALID; those of `send`
 */
export async function requestCentralRecord(
  { url, option, send }: { url: string; option: string; send: Send },
  manifestId: string,
  mac: string,
): Promise<CentralRecord> {
  const source = new URL(url).origin;
  const answer = await askService(url, `${manifestPath(manifestId)}?mac=${encodeURIComponent(mac)}`, option, send);
  if (answer.ok) return { found: true, source, manifest: openManifest((answer.body as { manifest?: unknown } | undefined)?.manifest) };
  const problem = problemOf(answer);
  return { found: false, source, reason: problem ? `${problem.code}: ${problem.detail ?? problem.title}` : `it answered ${answer.status}` };
}

/** @throws WaypostError DATABASE_UNAVAILABLE; CONFIG_INVALID when the database is not central's */
export async function readCentralRecord(database: CommandDatabase, manifestId: string, mac: string): Promise<CentralRecord> {
  await database.mustBe('central');
  const [row] = await database.query<{ document: unknown }>(DOCUMENT, [manifestId, mac]);
  if (row) return { found: true, source: database.address, manifest: openManifest(row.document) };
  return { found: false, source: database.address, reason: `it has no manifest ${manifestId} of ${mac}: pruned, or restored since` };
}

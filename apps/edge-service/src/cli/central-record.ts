import { askService, type CommandContext, problemOf } from '@waypost/command-line';
import { type Manifest, manifestPath, openManifest, WaypostError } from '@waypost/contracts';

/** What central says of a manifest that a device holds. */
export type CentralRecord =
  | { found: true; source: string; manifest: Manifest }
  /** It was asked, and cannot say. */
  | { found: false; source: string; reason: string };

const DOCUMENT = 'SELECT document FROM waypost.manifests WHERE manifest_id = $1 AND mac = $2';

/**
 * Asks central for its record, by its database or by HTTP, where either is known. A central that only the environment names, as on every
 * device, may be out of reach: devices are offline at times.
 * @returns undefined where no central is given
 * @throws WaypostError CENTRAL_UNREACHABLE, DATABASE_UNAVAILABLE when the command line named it
 */
export async function findCentralRecord(context: CommandContext, manifestId: string, mac: string): Promise<CentralRecord | undefined> {
  const databaseUrl = context.option('centralDatabaseUrl', 'CENTRAL_DATABASE_URL');
  const url = context.option('centralUrl', 'CENTRAL_URL');
  const asked = context.wasGiven('centralUrl') || databaseUrl === undefined ? url && byHttp(context, url, manifestId, mac) : undefined;
  const answer = asked ?? (databaseUrl === undefined ? undefined : byDatabase(context, databaseUrl, manifestId, mac));
  if (answer === undefined || answer === '') return undefined;
  return answer.catch((error: unknown): CentralRecord => {
    const isNamed = context.wasGiven('centralUrl') || context.wasGiven('centralDatabaseUrl');
    if (isNamed || !(error instanceof WaypostError)) throw error;
    return { found: false, source: 'central', reason: error.message };
  });
}

async function byHttp(context: CommandContext, url: string, manifestId: string, mac: string): Promise<CentralRecord> {
  const source = new URL(url).origin;
  const answer = await askService(
    url,
    `${manifestPath(manifestId)}?mac=${encodeURIComponent(mac)}`,
    context.wasGiven('centralUrl') ? '--central-url' : 'CENTRAL_URL',
  );
  if (answer.ok) return { found: true, source, manifest: openManifest((answer.body as { manifest?: unknown } | undefined)?.manifest) };
  const problem = problemOf(answer);
  return { found: false, source, reason: problem ? `${problem.code}: ${problem.detail ?? problem.title}` : `it answered ${answer.status}` };
}

async function byDatabase(context: CommandContext, url: string, manifestId: string, mac: string): Promise<CentralRecord> {
  const source = context.wasGiven('centralDatabaseUrl') ? '--central-database-url' : 'CENTRAL_DATABASE_URL';
  await using database = context.openDatabase(url, source);
  await database.mustBe('central');
  const [row] = await database.query<{ document: unknown }>(DOCUMENT, [manifestId, mac]);
  if (row) return { found: true, source: database.address, manifest: openManifest(row.document) };
  return { found: false, source: database.address, reason: `it has no manifest ${manifestId} of ${mac}: pruned, or restored since` };
}

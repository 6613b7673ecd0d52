import type { Manifest } from '@waypost/contracts';
import type pg from 'pg';
import { READ_DOCUMENTS } from './unchanged.sql.js';

/** Of all cached documents, as JSON: some ten thousand devices with a few tables each. */
const MAX_BYTES = 16 << 20;

/** Manifests as they were issued, which never change: those that were asked for last. */
export class ManifestCache {
  /** In the order of their last use. */
  private readonly documents = new Map<string, { manifest: Manifest; bytes: number }>();
  private bytes = 0;

  /** Those that are stored, by id. */
  async get(client: pg.ClientBase, ids: readonly string[]): Promise<Map<string, Manifest>> {
    const found = new Map<string, Manifest>();
    const missing = new Set<string>();
    for (const id of ids) {
      const cached = this.documents.get(id);
      if (!cached) missing.add(id);
      else {
        this.documents.delete(id);
        this.documents.set(id, cached);
        found.set(id, cached.manifest);
      }
    }
    if (missing.size === 0) return found;
    const { rows } = await client.query<{ manifestId: string; document: Manifest }>(READ_DOCUMENTS, [[...missing]]);
    for (const { manifestId, document } of rows) {
      found.set(manifestId, document);
      this.keep(manifestId, document);
    }
    return found;
  }

  private keep(id: string, manifest: Manifest): void {
    const bytes = JSON.stringify(manifest).length;
    this.documents.set(id, { manifest, bytes });
    this.bytes += bytes;
    for (const [oldest, entry] of this.documents) {
      if (this.bytes <= MAX_BYTES) return;
      this.documents.delete(oldest);
      this.bytes -= entry.bytes;
    }
  }
}

import type { Ack, Manifest, ManifestTable, SyncRequest } from '@waypost/contracts';

/** What a device that holds this manifest says of it in its next request. */
export function haveOf({ epoch, sequence, manifestId }: Manifest): { have: NonNullable<SyncRequest['have']> } {
  return { have: { epoch, sequence, manifestId } };
}

/** The ack of a device that holds all of a manifest, with what is different in this one. */
export function successOf({ manifestId, device, tables }: Manifest, change: Partial<Ack> = {}): Ack {
  const each = <Value>(valueOf: (table: ManifestTable) => Value): Record<string, Value> =>
    Object.fromEntries(tables.map((table) => [table.name, valueOf(table)]));
  return {
    manifestId,
    mac: device.mac,
    status: 'Success',
    localCounts: each(({ rowCount }) => rowCount),
    localChecksums: each(({ sha256 }) => sha256),
    durationMs: 12,
    error: null,
    ...change,
  };
}

/** The ack of a device that failed with a manifest and holds nothing of it. */
export function failureOf(manifest: Manifest, error: string | null): Ack {
  return successOf(manifest, { status: 'Failed', localCounts: {}, localChecksums: {}, error });
}

/** Of a row `device` of the states: it has acknowledged that it holds this manifest, with no failure since. */
export function hasProven(manifestId: string): string {
  return `(device.verified_manifest_id = ${manifestId} AND device.failed_manifest_id IS DISTINCT FROM ${manifestId})`;
}

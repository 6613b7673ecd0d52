import { createHmac, timingSafeEqual } from 'node:crypto';
import { canonicalJson, type Have } from '@waypost/contracts';

/** What a receipt says: this device acknowledged this manifest, and central found it right. */
interface Acknowledged extends Pick<Have, 'epoch' | 'sequence' | 'manifestId'> {
  mac: string;
}

/** HMAC-SHA256 over the RFC 8785 form, as 64 lower-case hex digits. @param key of the manifest's epoch */
export function receiptOf(key: Buffer, { mac, epoch, sequence, manifestId }: Acknowledged): string {
  return createHmac('sha256', key).update(canonicalJson({ mac, epoch, sequence, manifestId })).digest('hex');
}

/** Whether central gave this receipt for what the device says to hold. Takes the same time wherever they differ. */
export function isProven(key: Buffer, mac: string, have: Have): boolean {
  const expected = Buffer.from(receiptOf(key, { ...have, mac }));
  const given = Buffer.from(have.receipt ?? '');
  return given.length === expected.length && timingSafeEqual(given, expected);
}

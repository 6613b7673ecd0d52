import { X509Certificate } from 'node:crypto';

/** Part of its life after which a certificate is renewed: a device that is offline for a while does not need it in time. */
const RENEW_AFTER = 2 / 3;

/** Whether this is a certificate that has not yet to be renewed. @param now central's time, in seconds */
export function isFresh(certificate: string, now: number): boolean {
  const parsed = parse(certificate);
  if (!parsed) return false;
  const { validFromDate, validToDate } = parsed;
  const [from, to] = [validFromDate.getTime() / 1000, validToDate.getTime() / 1000];
  return now < from + (to - from) * RENEW_AFTER;
}

function parse(certificate: string): X509Certificate | undefined {
  try {
    return new X509Certificate(certificate);
  } catch {
    return undefined;
  }
}

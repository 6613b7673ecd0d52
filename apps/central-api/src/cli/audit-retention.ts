import { WaypostError } from '@waypost/contracts';
import { auditRetention } from '../config.js';

/** For how long central keeps its audit, in ms; Infinity where it keeps all of it. @param text AUDIT_RETENTION @throws WaypostError CONFIG_INVALID */
export function auditRetentionOf(text: string | undefined): number {
  const parsed = auditRetention.safeParse(text || undefined);
  if (parsed.success) return parsed.data === 0 ? Infinity : parsed.data;
  throw new WaypostError('CONFIG_INVALID', { detail: `AUDIT_RETENTION ${parsed.error.issues[0]?.message}.` });
}

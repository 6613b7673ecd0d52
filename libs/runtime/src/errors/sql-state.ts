/** SQLSTATEs that Waypost distinguishes. */
export const SqlState = {
  featureNotSupported: '0A000',
  lockNotAvailable: '55P03',
  deadlock: '40P01',
  undefinedTable: '42P01',
  undefinedColumn: '42703',
  insufficientPrivilege: '42501',
  queryCanceled: '57014',
  untranslatableCharacter: '22P05',
} as const;

/** The SQLSTATE of an error of PostgreSQL, or the code of a network error. */
export function sqlStateOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** Something that an operator should know, and what to do about it. */
export interface Finding {
  /** `bad`: act now. `warn`: usually heals by itself; look if it lasts. */
  severity: 'bad' | 'warn';
  what: string;
  next: string;
}

export function worstFirst(findings: readonly Finding[]): Finding[] {
  return [...findings].sort((a, b) => Number(a.severity === 'warn') - Number(b.severity === 'warn'));
}

/** Whether a monitor's check fails. A warning alone does not. */
export function hasBad(findings: readonly Finding[]): boolean {
  return findings.some(({ severity }) => severity === 'bad');
}

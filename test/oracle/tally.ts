type Group = 'mutations' | 'refused mutations' | 'transactions' | 'cycles' | 'network' | 'killed';

/** Counts what happened, in groups, for the summary of a run. */
export class Tally {
  private readonly groups = new Map<Group, Map<string, number>>();

  add(group: Group, name: string): void {
    const counts = this.groups.get(group) ?? new Map<string, number>();
    this.groups.set(group, counts.set(name, (counts.get(name) ?? 0) + 1));
  }

  total(group: Group): number {
    return [...(this.groups.get(group)?.values() ?? [])].reduce((sum, n) => sum + n, 0);
  }

  /** One line for each group. */
  lines(): string[] {
    return [...this.groups].map(([group, counts]) => {
      const parts = [...counts].sort(([, one], [, other]) => other - one).map(([name, n]) => `${n} ${name}`);
      return `  ${this.total(group)} ${group}: ${parts.join(', ')}`;
    });
  }
}

interface ExpiringMapOptions {
  /** An entry is gone this long after it was set, by the monotonic clock. */
  ttlMs: number;
  /** One more drops the oldest. */
  maxEntries: number;
}

/** A map whose entries live for a time, and which cannot grow beyond its bound, whatever its keys come from. */
export class ExpiringMap<Key, Value> {
  /** Oldest first. */
  private readonly entries = new Map<Key, { value: Value; expiresAtMs: number }>();

  constructor(private readonly options: ExpiringMapOptions) {}

  get(key: Key): Value | undefined {
    const entry = this.entries.get(key);
    return entry && entry.expiresAtMs > performance.now() ? entry.value : undefined;
  }

  set(key: Key, value: Value): void {
    this.entries.delete(key);
    this.entries.set(key, { value, expiresAtMs: performance.now() + this.options.ttlMs });
    const [oldest] = this.entries.keys();
    if (this.entries.size > this.options.maxEntries) this.entries.delete(oldest as Key);
  }

  get size(): number {
    return this.entries.size;
  }
}

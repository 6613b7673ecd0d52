/** Something that was started. */
export interface Part {
  name: string;
  /** Returns once nothing of it is left. */
  stop(): Promise<void>;
  /** Rejects when it ends without having been asked to. Never resolves. */
  failed: Promise<never>;
}

/** All that runs, in the order of its start. */
export class Running {
  private readonly parts: Part[] = [];

  add(part: Part): void {
    // A failure counts when a caller waits for it; until then it is no reason to end this process.
    part.failed.catch(() => undefined);
    this.parts.push(part);
  }

  /** Gives what `work` gives, unless something that runs ends first. */
  async unlessFailed<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, ...this.parts.map(({ failed }) => failed)]);
  }

  /** Stops everything, last started first, each after the one before is gone: services before their databases. */
  async stopAll(): Promise<{ stopped: number; problems: Error[] }> {
    const problems: Error[] = [];
    for (const part of this.parts.reverse()) {
      await part.stop().catch((cause: unknown) => problems.push(new Error(`${part.name} did not stop: ${String(cause)}`, { cause })));
    }
    return { stopped: this.parts.length - problems.length, problems };
  }
}

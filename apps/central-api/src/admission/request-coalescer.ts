import { AsyncLocalStorage } from 'node:async_hooks';
import type { Have, WaypostError } from '@waypost/contracts';
import type { IssuedManifest } from '../manifests/issue-manifests.js';
import type { BuildObserver } from '../snapshots/build-observer.js';
import type { Patience } from './semaphore.js';

/** A request that waits to be answered, alone or with others. */
export interface Asked {
  mac: string;
  have: Have | undefined;
  /** Sees the tables being read, where they are read for this request. */
  observer?: BuildObserver | undefined;
}

/** A request on its way. It is settled by whatever comes first: its answer, a failure, its client's going. */
export class Member {
  readonly mac: string;
  readonly have: Have | undefined;
  readonly observer: BuildObserver | undefined;
  readonly answer: Promise<IssuedManifest>;
  /** Runs work as part of this request, for its log lines and spans. */
  readonly within: <T>(work: () => T) => T = AsyncLocalStorage.snapshot();
  /** Has to wait for the device's lock, which another process holds; nobody waits with it. */
  isAlone = false;
  isSettled = false;
  private settle!: { resolve: (issued: IssuedManifest) => void; reject: (error: unknown) => void };

  constructor(
    { mac, have, observer }: Asked,
    /** Those of one share may be answered together. */
    public share: string,
  ) {
    this.mac = mac;
    this.have = have;
    this.observer = observer;
    this.answer = new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
    });
    // It may fail before anybody asks for it.
    this.answer.catch(() => undefined);
  }

  resolve(issued: IssuedManifest): void {
    this.isSettled = true;
    this.settle.resolve(issued);
  }

  reject(error: unknown): void {
    this.isSettled = true;
    this.settle.reject(error);
  }
}

interface Waiting {
  member: Member;
  /** In the order of arrival. */
  number: number;
  /** It has waited for half of its time: where there is a place, it does not wait for another flight of its share any more. */
  isImpatient: boolean;
  /** Its patience has ended: if no flight answers it at this moment, none will. */
  isLate: boolean;
}

interface Flight {
  members: Waiting[];
  landing: AbortController;
}

interface Options {
  places: number;
  /** More of one share make another flight. */
  maxMembers: number;
  /** Settles the members, or throws what all get who are not settled. Whoever is left after that waits again. */
  fly: (members: readonly Member[], signal: AbortSignal) => Promise<void>;
  busy: () => WaypostError;
}

/**
 * Requests of devices, grouped: those of one share that wait at the same time are answered together. A flight takes whoever waits when it begins;
 * whoever comes later waits for the next, as its snapshot may lack what the device was told of meanwhile. Only so many fly at one time, those first
 * who have waited longest; of each share one at a time, because the next one finds most of it done.
 */
export class Flights {
  private queue: Waiting[] = [];
  private readonly underWay = new Set<Flight>();
  private arrivals = 0;

  constructor(private readonly options: Options) {}

  get inUse(): number {
    return this.underWay.size;
  }

  get waiting(): number {
    return this.queue.length;
  }

  /**
   * @throws what `fly` throws; what `busy` makes when the patience ends before a flight takes it; the signal's reason when it fires
   */
  async join(asked: Asked, share: string, { until, signal }: Patience): Promise<IssuedManifest> {
    signal.throwIfAborted();
    const member = new Member(asked, share);
    const waiting: Waiting = { member, number: (this.arrivals += 1), isImpatient: false, isLate: false };
    const leftMs = Math.max(0, until - performance.now());
    const timers = [
      setTimeout(() => {
        waiting.isImpatient = true;
        this.depart();
      }, leftMs / 2),
      setTimeout(() => {
        waiting.isLate = true;
        if (this.queue.includes(waiting)) this.remove(waiting, this.options.busy());
      }, leftMs),
    ];
    const onAbort = (): void => this.remove(waiting, signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    this.queue.push(waiting);
    this.depart();
    try {
      return await member.answer;
    } finally {
      for (const timer of timers) clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Nobody waits for this one any more; a flight that nobody waits for ends. */
  private remove(waiting: Waiting, reason: unknown): void {
    waiting.member.reject(reason);
    this.queue = this.queue.filter((other) => other !== waiting);
    for (const { members, landing } of this.underWay) {
      if (members.includes(waiting) && members.every(({ member }) => member.isSettled)) landing.abort(reason);
    }
  }

  private depart(): void {
    while (this.underWay.size < this.options.places) {
      const first = this.findFirst();
      if (!first) return;
      const { isAlone, share } = first.member;
      const mayJoin = ({ member }: Waiting): boolean => !isAlone && !member.isAlone && member.share === share;
      const members = this.queue.filter((waiting) => waiting === first || mayJoin(waiting)).slice(0, this.options.maxMembers);
      const taken = new Set(members);
      this.queue = this.queue.filter((waiting) => !taken.has(waiting));
      const flight: Flight = { members, landing: new AbortController() };
      this.underWay.add(flight);
      void first.member.within(() => this.fly(flight));
    }
  }

  private findFirst(): Waiting | undefined {
    const shares = new Set([...this.underWay].flatMap(({ members }) => members.map(({ member }) => member.share)));
    return this.queue.find(({ member, isImpatient }) => member.isAlone || isImpatient || !shares.has(member.share));
  }

  private async fly(flight: Flight): Promise<void> {
    const members = flight.members.map(({ member }) => member);
    try {
      await this.options.fly(members, flight.landing.signal);
    } catch (error) {
      for (const member of members) if (!member.isSettled) member.reject(error);
    }
    this.underWay.delete(flight);
    const left = flight.members.filter(({ member }) => !member.isSettled);
    for (const { member, isLate } of left) if (isLate) member.reject(this.options.busy());
    this.queue.push(...left.filter(({ member }) => !member.isSettled));
    this.queue.sort((one, other) => one.number - other.number);
    this.depart();
  }
}

import { AsyncLocalStorage } from 'node:async_hooks';
import type { Have } from '@waypost/contracts';
import type { BuildObserver } from '../snapshots/build-observer.js';
import type { IssuedManifest } from './issue-manifests.js';

/** A device's request for a manifest of a snapshot. */
export interface SnapshotRequest {
  mac: string;
  have: Have | undefined;
  /** Sees the tables being read, where they are read for this request. */
  observer?: BuildObserver | undefined;
}

/** A request waiting to be answered. Settles once: with a manifest, with an error, or when the client disconnects. */
export class PendingRequest {
  readonly mac: string;
  readonly have: Have | undefined;
  readonly observer: BuildObserver | undefined;
  readonly answer: Promise<IssuedManifest>;
  /** Runs work as part of this request, for its log lines and spans. */
  readonly within: <T>(work: () => T) => T = AsyncLocalStorage.snapshot();
  /** Must wait for the device's lock, which another process holds; no other request waits with it. */
  isAlone = false;
  isSettled = false;
  private settle!: { resolve: (issued: IssuedManifest) => void; reject: (error: unknown) => void };

  constructor(
    { mac, have, observer }: SnapshotRequest,
    /** Requests of one scope group may be answered together. */
    public scopeKey: string,
  ) {
    this.mac = mac;
    this.have = have;
    this.observer = observer;
    this.answer = new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
    });
    // It may fail before it is awaited.
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

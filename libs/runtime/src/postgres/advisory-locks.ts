/** Waypost's advisory locks: the first key is Waypost's own, the second says what is locked. */
export const ADVISORY_NAMESPACE = 0x57_61_79_70; // "Wayp"
export const AdvisoryLock = { migrations: 1, snapshotStore: 2, syncCycle: 3, epoch: 4, auditSweep: 5, storeSweep: 6 } as const;

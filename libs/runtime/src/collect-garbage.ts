import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

type Collection = 'minor' | 'major';
type Collect = (options: { type: Collection }) => void;

/** How much may pass between two collections. A minor one takes about a millisecond, a major one ten. */
const EVERY_BYTES: Record<Collection, number> = { minor: 8 << 20, major: 24 << 20 };

let collect: Collect | undefined;

/** Node offers no other way to ask a running process for a collection. */
function findCollect(): Collect {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as Collect;
}

/**
 * Keeps buffers that are dead soon after they were made from piling up: V8 counts each as a few bytes and lets some 64 MB of them pass
 * before it collects by itself. That is a third of what an edge may use.
 */
export class GarbageCollector {
  private bytes = 0;

  /** @param kind `major` for buffers that outlive minor collections, as those of undici's sockets do */
  constructor(private readonly kind: Collection) {}

  /** @param bytes length of a buffer that is garbage, or soon will be */
  passed(bytes: number): void {
    this.bytes += bytes;
    if (this.bytes < EVERY_BYTES[this.kind]) return;
    this.bytes = 0;
    collect ??= findCollect();
    collect({ type: this.kind });
  }
}

import { WaypostError } from '@waypost/contracts';

interface DownloadLimits {
  maxDownloads: number;
  maxPerDevice: number;
}

/**
 * Limits the downloads in progress. A device that opens one too many loses its oldest: its link broke, and central has not noticed yet. When all
 * places are taken, others are refused until one is free.
 */
export class DownloadLimiter {
  /** What ends each download, oldest first. */
  private readonly byDevice = new Map<string, Set<() => void>>();
  private taken = 0;

  constructor(private readonly limits: DownloadLimits) {}

  get count(): number {
    return this.taken;
  }

  /**
   * @param cut ends this download; its place is free when the returned function was called
   * @throws WaypostError CENTRAL_BUSY
   */
  take(mac: string, cut: () => void): () => void {
    const own = this.byDevice.get(mac) ?? new Set();
    const [oldest] = own;
    if (oldest && own.size >= this.limits.maxPerDevice) {
      own.delete(oldest);
      oldest();
    } else if (this.taken >= this.limits.maxDownloads) {
      throw new WaypostError('CENTRAL_BUSY', {
        detail: `${this.taken} downloads are in progress.`,
        hint: 'The device asks again by itself. If this lasts, raise MAX_DOWNLOADS or add a replica.',
      });
    }
    this.byDevice.set(mac, own.add(cut));
    this.taken += 1;
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.taken -= 1;
      own.delete(cut);
      if (own.size === 0 && this.byDevice.get(mac) === own) this.byDevice.delete(mac);
    };
  }
}

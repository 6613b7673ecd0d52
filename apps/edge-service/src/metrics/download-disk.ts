import { mkdir } from 'node:fs/promises';
import { Inject, Injectable } from '@nestjs/common';
import { type DiskSpace, diskSpaceOf, TtlCache, writeProbe } from '@waypost/runtime';
import { Probe } from '@waypost/runtime/service';
import { METRICS_OPTIONS, type MetricsOptions } from './metrics-options.js';

/** A file system that hangs, such as a dead network mount, must not hold up a probe or a scrape. */
const SPACE = { ttlMs: 5000, timeoutMs: 1000 };
const WRITING = { ttlMs: 5000, timeoutMs: 3000 };

/** The file system that holds the download folder. */
@Injectable()
export class DownloadDisk {
  readonly space: TtlCache<DiskSpace>;
  /** Whether something can be written there. Cached: each write wears flash storage. */
  readonly writable: Probe;

  constructor(@Inject(METRICS_OPTIONS) options: MetricsOptions) {
    this.space = new TtlCache(async () => {
      await mkdir(options.downloadFolder, { recursive: true });
      return diskSpaceOf(options.downloadFolder);
    }, SPACE);
    this.writable = new Probe(() => writeProbe(options.downloadFolder), { code: 'STORAGE_FAILED', ...WRITING });
  }
}

export interface DownloadOptions {
  /** Survives restarts. Each device has a folder of its own in it. */
  folder: string;
  deviceMac: string;
  /** A transfer without progress for this long is aborted and resumed. */
  stallTimeoutMs: number;
  /** For all downloads of one cycle. */
  deadlineMs: number;
}

/** Injection token of DownloadOptions. */
export const DOWNLOAD_OPTIONS = Symbol('download options');

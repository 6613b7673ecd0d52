import type { Server } from 'node:tls';
import type { Logger } from 'pino';
import { type KeyPair, readKeyPair, type TlsFiles } from './key-pair.js';
import { TLS_POLICY } from './tls-policy.js';

const DAY_MS = 86_400_000;
/** From then on each day has a warning. Certificates that are renewed by themselves are renewed 30 days before. */
const WARN_BEFORE_MS = 14 * DAY_MS;

/**
 * Has a server serve the certificate that is in the files now. The files' content is compared, not their times or inodes: a file that another
 * replaces by its name or by a symbolic link (certbot, Kubernetes) is noticed like one that is written.
 */
export class CertificateReloader {
  private served: KeyPair | undefined;
  private fault: { message: string; isReported: boolean } | undefined;
  private warnedAt = -Infinity;

  constructor(
    private readonly files: TlsFiles,
    private readonly logger: Logger,
  ) {}

  /** When the certificate that is served expires; undefined before the first check. */
  get expiresAt(): Date | undefined {
    return this.served?.certificate.validToDate;
  }

  /**
   * Reads the files, and has the server use them for new connections where they have changed; open connections go on. A pair that cannot be
   * served changes nothing. It is logged once, when two checks in a row find it: certificate and key are replaced one after the other.
   */
  async check(server: Pick<Server, 'setSecureContext'>): Promise<void> {
    try {
      this.serve(await readKeyPair(this.files), server);
      this.fault = undefined;
    } catch (error) {
      this.report(error);
    }
    this.warnOfExpiry();
  }

  private serve(pair: KeyPair, server: Pick<Server, 'setSecureContext'>): void {
    if (pair.cert === this.served?.cert && pair.key === this.served.key) return;
    server.setSecureContext({ cert: pair.cert, key: pair.key, ...TLS_POLICY });
    this.served = pair;
    this.warnedAt = -Infinity;
    this.logger.info(factsOf(pair), 'certificate is served');
  }

  private report(error: unknown): void {
    const { message } = error as Error;
    const isRepeated = this.fault?.message === message;
    if (isRepeated && !this.fault?.isReported) {
      this.logger.warn({ err: error }, 'new certificate cannot be served, the one before is');
    }
    this.fault = { message, isReported: isRepeated };
  }

  private warnOfExpiry(): void {
    if (!this.served || this.served.certificate.validToDate.getTime() - Date.now() > WARN_BEFORE_MS) return;
    if (performance.now() - this.warnedAt < DAY_MS) return;
    this.warnedAt = performance.now();
    const hint = 'Renew it: `waypost certs renew`, or whatever made it. Central takes the new files by itself.';
    this.logger.warn({ ...factsOf(this.served), hint }, 'certificate expires soon, or has expired');
  }
}

function factsOf({ certificate }: KeyPair): object {
  const { validToDate, fingerprint256, subjectAltName } = certificate;
  return { expiresAt: validToDate.toISOString(), fingerprint: fingerprint256, hosts: subjectAltName };
}

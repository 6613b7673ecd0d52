import type { X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { Inject, Injectable } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import type { CertifiedDevice } from '../certificates/read-device-certificate.js';
import { DeviceAuthorities } from '../identity/device-authorities.js';
import { IDENTITY_OPTIONS, type IdentityOptions } from '../identity/identity-options.js';

interface ShownCertificate {
  certificate: X509Certificate;
  device: CertifiedDevice;
}

/** Holds the client certificate of a connection against the device that sends a request on it. */
@Injectable()
export class ClientCertificates {
  private readonly shown = new WeakMap<Socket, Promise<ShownCertificate | undefined>>();

  constructor(
    private readonly authorities: DeviceAuthorities,
    @Inject(IDENTITY_OPTIONS) private readonly options: IdentityOptions,
  ) {}

  /**
   * A certificate that is valid names this device and this key. With TLS_CLIENT_AUTH=require there is one.
   * @throws WaypostError CERTIFICATE_REQUIRED
   */
  async check(socket: Socket, { deviceId, thumbprint }: CertifiedDevice): Promise<void> {
    if (this.options.clientCertificates === 'off') return;
    const shown = await this.shownOn(socket);
    if (shown && shown.certificate.validToDate.getTime() > Date.now()) {
      if (shown.device.deviceId === deviceId && shown.device.thumbprint === thumbprint) return;
      throw new WaypostError('CERTIFICATE_REQUIRED', {
        detail: 'The certificate is of another device, or of a key that the device has replaced.',
      });
    }
    if (this.options.clientCertificates === 'require') throw new WaypostError('CERTIFICATE_REQUIRED');
  }

  /** A connection shows its certificate once, however many requests it carries. */
  private shownOn(socket: Socket): Promise<ShownCertificate | undefined> {
    const known = this.shown.get(socket);
    if (known) return known;
    const read = this.read(socket);
    this.shown.set(socket, read);
    // A database that does not answer is asked again.
    read.catch(() => this.shown.delete(socket));
    return read;
  }

  private async read(socket: Socket): Promise<ShownCertificate | undefined> {
    const certificate = socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined;
    const device = certificate && (await this.authorities.read(certificate));
    return device && { certificate, device };
  }
}

export interface AckOptions {
  deviceMac: string;
}

/** Injection token of AckOptions. */
export const ACK_OPTIONS = Symbol('ack options');
